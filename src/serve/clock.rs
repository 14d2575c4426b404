//! The clock of `serve`, and what it waits for. Behind a trait, so that a test moves the time.
//!
//! # Design
//! tokio-cron-scheduler gives the tick of every second, and nothing else: it keeps the zone's offset of the moment a job was
//! added, forgets what was due while it slept, and cannot be given a clock; so [`crate::schedule`] says what is due. Its tick
//! is a cron job and not a repeated one: after one late tick a repeated one never comes again. When the clock is set back it
//! is silent until the old time has come round; a tick that does not come within [`SILENCE_MAX`] is therefore made up here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_cron_scheduler::{Job as Tick, JobScheduler};

use super::Ended;
use crate::diagnostic::Place;
use crate::error::{Error, Remedy};

/// The longest time without a look at the schedules.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// What `serve` wakes up for.
#[derive(Debug)]
pub enum Signal {
    /// Time has gone by.
    Tick,
    /// Somebody asked it to stop.
    Stop,
    /// A run ended.
    Ended(Box<Ended>),
}

/// A clock that can be waited on.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;

    /// Begins to send ticks, and requests to stop. Called once, before the first [`Clock::receive`].
    ///
    /// # Errors
    /// What the machine refuses.
    fn start(&self, signals: Sender<Signal>) -> Result<(), Error>;

    /// Waits for the next signal. `running` runs are under way and will send theirs.
    fn receive(&self, signals: &Receiver<Signal>, running: usize) -> Signal;
}

/// The clock of the machine: a tick a second; SIGTERM and SIGINT ask to stop, a second one ends the process at once.
pub struct SystemClock {
    runtime: Runtime,
    scheduler: OnceLock<JobScheduler>,
    /// Whether a tick waits to be received: a second one would say nothing new.
    has_ticked: Arc<AtomicBool>,
}

impl SystemClock {
    /// The clock, not started yet.
    ///
    /// # Errors
    /// `GiveAccess` if no thread can be made.
    pub fn new() -> Result<SystemClock, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| refused("no thread can be made for the clock", &error.to_string()))?;
        Ok(SystemClock { runtime, scheduler: OnceLock::new(), has_ticked: Arc::default() })
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn start(&self, signals: Sender<Signal>) -> Result<(), Error> {
        let _runtime = self.runtime.enter();
        let listen = |kind| signal(kind).map_err(|error| refused("requests to stop cannot be listened to", &error.to_string()));
        let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        let stop = signals.clone();
        self.runtime.spawn(async move {
            let mut was_asked = false;
            loop {
                let exit_code = tokio::select! {
                    _ = terminate.recv() => 128 + 15,
                    _ = interrupt.recv() => 128 + 2,
                };
                if was_asked {
                    std::process::exit(exit_code);
                }
                was_asked = true;
                // Whoever no longer receives has stopped.
                let _ = stop.send(Signal::Stop);
            }
        });
        let has_ticked = Arc::clone(&self.has_ticked);
        let started = self.runtime.block_on(async {
            let scheduler = JobScheduler::new().await?;
            let tick = Tick::new_async("* * * * * *", move |_, _| {
                if !has_ticked.swap(true, Ordering::AcqRel) {
                    let _ = signals.send(Signal::Tick);
                }
                Box::pin(async {})
            })?;
            scheduler.add(tick).await?;
            scheduler.start().await?;
            Ok(scheduler)
        });
        let started = started.map_err(|error: tokio_cron_scheduler::JobSchedulerError| refused("the clock cannot be started", &error.to_string()))?;
        // It is started once; a second one would tick beside the first and do no harm.
        let _ = self.scheduler.set(started);
        Ok(())
    }

    fn receive(&self, signals: &Receiver<Signal>, _running: usize) -> Signal {
        let signal = signals.recv_timeout(SILENCE_MAX).unwrap_or(Signal::Tick);
        if matches!(signal, Signal::Tick) {
            self.has_ticked.store(false, Ordering::Release);
        }
        signal
    }
}

fn refused(what: &str, seen: &str) -> Error {
    Error::new(Remedy::GiveAccess, Place::of("serve"), what).seen(seen).seen("no run was started")
}
