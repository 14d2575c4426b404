//! Decides whether a run is mailed, why, and to whom, from what was mailed before.
//!
//! # Words
//! A *problem* is a run that a person must look at or that failed. It is *news* when nobody has been told of it: the mail
//! before was no problem, the run ended in another way, or a break is open that was not there before. What is no news is
//! mailed again as a *reminder*. The first mailed run after a problem tells its end, the *recovery*. A *sign of life* tells
//! that the schedule still runs: without it, silence would mean both that all is well and that nothing ran.
//!
//! | `when` | no problem | problem |
//! | --- | --- | --- |
//! | `always` | every run | every run |
//! | `changes` | runs that changed something; the recovery | every run |
//! | `problems` | the recovery; a sign of life once a week, the first at once | news; reminders 1, 3 and 7 days after the news, then weekly |
//!
//! # Design
//! Mails are counted from the moment at which they are queued. What matters is what was said last, not what was tried:
//! a mail that is still on its way says the same when it arrives. Days are counted with two hours of grace, because a
//! nightly run starts a second earlier or, when the clocks change, an hour earlier than the night before.

use jiff::{SignedDuration, Timestamp};

use super::document;
use super::{Report, Verdict};
use crate::job::{ReportSpec, ReportWhen};

/// The days after the news on which a reminder is sent. After the last of them, every seven days.
const REMINDERS: [i64; 3] = [1, 3, 7];
/// The days between two signs of life, and between late reminders.
const WEEK: i64 = 7;
/// How much earlier than a whole day a run still counts as a day later.
const GRACE: SignedDuration = SignedDuration::from_hours(2);

/// Why a run is mailed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Every run is.
    Always,
    /// It changed something.
    Changed,
    /// It has a problem that nobody has been told of.
    Problem,
    /// Its problem is known, and still there.
    Reminder,
    /// The problem that was told last is over.
    Recovery,
    /// Nothing was told for a week.
    SignOfLife,
    /// Scheduled runs before it were missed.
    MissedRuns,
}

impl Why {
    const WORDS: [(&'static str, Why); 7] = [
        ("always", Why::Always),
        ("changed", Why::Changed),
        ("problem", Why::Problem),
        ("reminder", Why::Reminder),
        ("recovery", Why::Recovery),
        ("sign-of-life", Why::SignOfLife),
        ("missed-runs", Why::MissedRuns),
    ];

    /// The word that the ledger and the header of the mail use.
    pub fn word(self) -> &'static str {
        Why::WORDS.iter().find(|(_, why)| *why == self).map_or("always", |(word, _)| word)
    }

    /// The meaning of a word; nothing if it is none.
    pub fn of_word(word: &str) -> Option<Why> {
        Why::WORDS.iter().find(|(known, _)| *known == word).map(|(_, why)| *why)
    }
}

/// A mail that was queued before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PastMail {
    /// When.
    pub at: Timestamp,
    /// How its run ended.
    pub verdict: Verdict,
    /// The exit code of its run.
    pub exit_code: u8,
    /// Why it was due.
    pub why: Why,
}

/// A mail that is due, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Why.
    pub why: Why,
    /// The mail that it refers to: of a reminder, the one with the news; else the last one.
    pub after: Option<PastMail>,
}

/// Whether a run is mailed, and why; nothing if it is not. `past` are the mails of the job, the oldest first.
pub fn due(when: ReportWhen, report: &Report, now: Timestamp, past: &[PastMail]) -> Option<Due> {
    let last = past.last().copied();
    let after_last = |why| Some(Due { why, after: last });
    let told_problem = last.is_some_and(|mail| is_problem(mail.verdict));
    match when {
        ReportWhen::Always => after_last(Why::Always),
        _ if !is_problem(report.verdict) && told_problem => after_last(Why::Recovery),
        ReportWhen::Changes if is_problem(report.verdict) => after_last(Why::Problem),
        ReportWhen::Changes => (document::writes(report).touched > 0 || !report.cleared.is_empty()).then_some(Due { why: Why::Changed, after: last }),
        ReportWhen::Problems if !is_problem(report.verdict) => {
            let is_long_ago = last.is_none_or(|mail| days(mail.at, now) >= WEEK);
            is_long_ago.then_some(Due { why: Why::SignOfLife, after: last })
        }
        ReportWhen::Problems => {
            let Some(last) = last.filter(|mail| is_problem(mail.verdict) && mail.exit_code == report.exit_code && !has_new_break(report)) else {
                return after_last(Why::Problem);
            };
            let news = past.iter().rev().take_while(|mail| is_problem(mail.verdict)).find(|mail| mail.why != Why::Reminder).copied().unwrap_or(last);
            let is_due = reminders_until(days(news.at, now)) > reminders_until(days(news.at, last.at));
            is_due.then_some(Due { why: Why::Reminder, after: Some(news) })
        }
    }
}

/// Who gets the mail of a run: everybody under `to`, those of its verdict, and those who were told of the verdict before,
/// so that whoever heard of a problem hears how it ended. Each address once, as it is written.
pub fn recipients(spec: &ReportSpec, verdict: Verdict, last: Option<Verdict>) -> Vec<String> {
    let mut chosen: Vec<String> = Vec::new();
    let of_verdicts = [Some(verdict), last].into_iter().flatten().map(|verdict| match verdict {
        Verdict::Ok | Verdict::Synced => &[][..],
        Verdict::Action => &spec.to_action[..],
        Verdict::Failed => &spec.to_failed[..],
    });
    for address in std::iter::once(&spec.to[..]).chain(of_verdicts).flatten() {
        if !chosen.iter().any(|known| known.eq_ignore_ascii_case(address)) {
            chosen.push(address.clone());
        }
    }
    chosen
}

fn is_problem(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Action | Verdict::Failed)
}

/// Whether a break was seen for the first time. A run that stopped settled nothing: what it shows as open would be as new
/// the next night.
fn has_new_break(report: &Report) -> bool {
    report.stopped_by.is_empty() && report.breaks.iter().any(|open| open.first_run == report.run)
}

/// Whole days between two moments, with grace; none if the second is the earlier one.
fn days(from: Timestamp, to: Timestamp) -> i64 {
    ((to.duration_since(from) + GRACE).as_hours() / 24).max(0)
}

/// How many reminders belong to this many days.
fn reminders_until(days: i64) -> i64 {
    let last = REMINDERS[REMINDERS.len() - 1];
    let first = REMINDERS.iter().filter(|day| **day <= days).count() as i64;
    first + (days - last).max(0) / WEEK
}

#[cfg(test)]
mod tests {
    use super::super::sample::{quiet, rich, stopped};
    use super::*;

    fn at(day: i64, hour: i64) -> Timestamp {
        "2026-03-01T00:00:00Z".parse::<Timestamp>().expect("a moment") + SignedDuration::from_hours(24 * day + hour)
    }

    /// A night with a problem that is not new by itself.
    fn problem() -> Report {
        let mut report = rich();
        report.exit_code = 1;
        report.breaks.iter_mut().for_each(|open| open.first_run = "20250101T000000Z".to_owned());
        report
    }

    fn failed() -> Report {
        Report { exit_code: 3, ..stopped() }
    }

    fn new_break() -> Report {
        let mut report = problem();
        report.breaks[0].first_run = report.run.clone();
        report
    }

    /// What is mailed, night by night, at two in the morning and a few seconds around it.
    fn nights(when: ReportWhen, nights: &[Report]) -> String {
        let mut past: Vec<PastMail> = Vec::new();
        let mut told = String::new();
        for (day, report) in nights.iter().enumerate() {
            let day = day as i64;
            let now = at(day, 2) + SignedDuration::from_secs(if day % 2 == 0 { 9 } else { -9 });
            let due = due(when, report, now, &past);
            told.push(match due.map(|due| due.why) {
                None => '.',
                Some(Why::Always) => 'A',
                Some(Why::Changed) => 'C',
                Some(Why::Problem) => 'P',
                Some(Why::Reminder) => 'r',
                Some(Why::Recovery) => 'V',
                Some(Why::SignOfLife) => 'L',
                Some(Why::MissedRuns) => 'M',
            });
            past.extend(due.map(|due| PastMail { at: now, verdict: report.verdict, exit_code: report.exit_code, why: due.why }));
        }
        told
    }

    fn repeated(report: Report, times: usize) -> Vec<Report> {
        vec![report; times]
    }

    #[test]
    fn problems_are_told_once_reminded_and_ended() {
        let synced = || Report { verdict: Verdict::Synced, exit_code: 0, ..rich() };
        for (name, story, expected) in [
            ("quiet", repeated(quiet(), 16), "L......L......L."),
            ("one problem for a month", repeated(problem(), 30), "Pr.r...r......r......r......r."),
            ("one night", [quiet(), problem(), quiet(), quiet()].to_vec(), "LPV."),
            ("the end by changes", [problem(), synced(), synced()].to_vec(), "PV."),
            ("worse, and better, and over", [problem(), problem(), failed(), failed(), problem(), quiet()].to_vec(), "PrPrPV"),
            ("a new break among known ones", [problem(), problem(), problem(), new_break(), problem(), problem(), problem(), quiet()].to_vec(), "Pr.Pr.rV"),
            ("back again", [problem(), quiet(), problem(), problem(), quiet()].to_vec(), "PVPrV"),
        ] {
            assert_eq!(nights(ReportWhen::Problems, &story), expected, "{name}");
        }
        let mut story = repeated(problem(), 2);
        story.extend(repeated(quiet(), 9));
        assert_eq!(nights(ReportWhen::Problems, &story), "PrV......L.", "the sign of life counts from the last mail");
        let first_contact = Report { verdict: Verdict::Action, exit_code: 1, stopped_by: stopped().stopped_by, ..new_break() };
        assert_eq!(nights(ReportWhen::Problems, &repeated(first_contact, 5)), "Pr.r.", "what a stopped run shows as new is not new every night");
    }

    #[test]
    fn changes_are_told_and_the_end_of_a_problem() {
        let synced = || Report { verdict: Verdict::Synced, exit_code: 0, ..rich() };
        let story = [quiet(), synced(), problem(), problem(), failed(), quiet(), quiet()];
        assert_eq!(nights(ReportWhen::Changes, &story), ".CPPPV.");
        assert_eq!(nights(ReportWhen::Always, &story), "AAAAAAA");
    }

    #[test]
    fn days_are_whole_whatever_the_clock_does() {
        for (from, to, expected) in [
            (at(0, 2), at(1, 2), 1),
            (at(0, 2), at(1, 1), 1),
            (at(0, 2), at(0, 23), 0),
            (at(0, 2), at(7, 1), 7),
            (at(0, 2), at(0, 2), 0),
            (at(5, 2), at(0, 2), 0),
        ] {
            assert_eq!(days(from, to), expected, "{from} {to}");
        }
        // A job that runs every ten minutes is reminded as often as one that runs every night.
        let mut past = vec![PastMail { at: at(0, 0), verdict: Verdict::Action, exit_code: 1, why: Why::Problem }];
        let minutes = (10..30 * 24 * 60).step_by(10);
        for minute in minutes {
            let now = at(0, 0) + SignedDuration::from_mins(minute);
            past.extend(due(ReportWhen::Problems, &problem(), now, &past).map(|due| PastMail { at: now, why: due.why, ..past[0] }));
        }
        assert_eq!(past.len(), 1 + 3 + 3, "days 1, 3, 7, 14, 21, 28");
    }

    #[test]
    fn a_mail_says_which_one_it_follows() {
        let mail = |day, why, verdict| PastMail { at: at(day, 2), verdict, exit_code: 1, why };
        let past = [mail(0, Why::Recovery, Verdict::Ok), mail(3, Why::Problem, Verdict::Action), mail(4, Why::Reminder, Verdict::Action)];
        let reminder = due(ReportWhen::Problems, &problem(), at(6, 2), &past).expect("is due");
        assert_eq!((reminder.why, reminder.after), (Why::Reminder, Some(past[1])));
        let recovery = due(ReportWhen::Problems, &quiet(), at(6, 2), &past).expect("is due");
        assert_eq!((recovery.why, recovery.after), (Why::Recovery, Some(past[2])));
    }

    #[test]
    fn whoever_hears_of_a_problem_hears_its_end() {
        let spec = ReportSpec {
            to: vec!["finance@example.com".into()],
            to_action: vec!["lead@example.com".into(), "Finance@example.com".into()],
            to_failed: vec!["it@example.com".into()],
            when: ReportWhen::Always,
        };
        let to = |verdict, last| recipients(&spec, verdict, last).iter().map(|to| to.split('@').next().unwrap_or_default().to_owned()).collect::<Vec<_>>();
        assert_eq!(to(Verdict::Ok, None), ["finance"]);
        assert_eq!(to(Verdict::Action, None), ["finance", "lead"]);
        assert_eq!(to(Verdict::Failed, Some(Verdict::Ok)), ["finance", "it"]);
        assert_eq!(to(Verdict::Synced, Some(Verdict::Failed)), ["finance", "it"]);
        assert_eq!(to(Verdict::Action, Some(Verdict::Failed)), ["finance", "lead", "it"]);
        let only_failed = ReportSpec { to: Vec::new(), to_action: Vec::new(), ..spec };
        assert!(recipients(&only_failed, Verdict::Ok, None).is_empty());
    }

    #[test]
    fn words_are_read_back() {
        for (word, why) in Why::WORDS {
            assert_eq!((why.word(), Why::of_word(word)), (word, Some(why)));
        }
        assert_eq!(Why::of_word("else"), None);
    }
}
