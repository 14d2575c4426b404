//! Calls that only read, made before they are needed: the pages and records that will be asked for next.
//!
//! # Design
//! Only what takes time runs in threads of its own: one request each, over the wire and back. When a request may be made, and what its
//! answer leads to, stays with the one thread that calls, so that the rate, the budget and the login have one master.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use hashbrown::HashMap;
use reqwest::header::HeaderMap;

use super::wire::{Call, Fault, Reply, Wire};

type Answer = Result<Reply, Fault>;

/// Calls that were made before they are needed.
#[derive(Debug)]
pub(super) struct Ahead {
    sender: Sender<(String, Answer)>,
    receiver: Receiver<(String, Answer)>,
    /// What each was made with.
    begun: HashMap<String, Arc<Wire>>,
    done: HashMap<String, Answer>,
    /// How many requests are under way, forgotten ones as well.
    running: Arc<AtomicUsize>,
}

impl Default for Ahead {
    fn default() -> Ahead {
        let (sender, receiver) = channel();
        Ahead { sender, receiver, begun: HashMap::new(), done: HashMap::new(), running: Arc::default() }
    }
}

impl Ahead {
    pub fn is_begun(&self, call: &Call) -> bool {
        self.begun.contains_key(&name_of(call))
    }

    /// How many requests are under way.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    /// How many calls were begun and not taken.
    pub fn held(&self) -> usize {
        self.begun.len()
    }

    /// Makes the request of a call.
    pub fn start(&mut self, call: &Call, wire: &Arc<Wire>) {
        let name = name_of(call);
        self.begun.insert(name.clone(), Arc::clone(wire));
        self.running.fetch_add(1, Ordering::SeqCst);
        let (call, wire, sender, running) = (call.clone(), Arc::clone(wire), self.sender.clone(), Arc::clone(&self.running));
        std::thread::spawn(move || {
            let answer = wire.exchange(&call, &call.url);
            running.fetch_sub(1, Ordering::SeqCst);
            // Nobody waits any more for a call that was forgotten.
            let _ = sender.send((name, answer));
        });
    }

    /// Waits for the next answer, at most so long; its headers, if it came.
    pub fn receive(&mut self, at_most: Option<Duration>) -> Option<HeaderMap> {
        let received = match at_most {
            Some(wait) => self.receiver.recv_timeout(wait).ok(),
            None => self.receiver.recv().ok(),
        };
        let (name, answer) = received?;
        let headers = answer.as_ref().ok().map(|reply| reply.headers.clone());
        self.done.insert(name, answer);
        headers
    }

    /// The answer to a call and what it was made with, if it came.
    pub fn take(&mut self, call: &Call) -> Option<(Answer, Arc<Wire>)> {
        let name = name_of(call);
        let answer = self.done.remove(&name)?;
        Some((answer, self.begun.remove(&name)?))
    }

    /// Forgets all calls.
    pub fn forget(&mut self) {
        *self = Ahead { running: Arc::clone(&self.running), ..Ahead::default() };
    }
}

/// What tells a call from another.
fn name_of(call: &Call) -> String {
    let body = call.body.as_ref().map(|(_, body)| body.as_str()).unwrap_or_default();
    format!("{} {}\n{body}", call.method, call.url)
}
