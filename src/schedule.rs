//! When a job is due: a cron line and a time zone, and the instants between two others at which they ask for a run.
//!
//! # Words
//! A *due time* is an instant at which a schedule asks for a run. [`Timetable::due`] gives those after one instant and up to
//! another; what is asked in two parts is exactly what is asked in one, so that no due time is lost or found twice.
//!
//! # The expression
//! Five fields (minute, hour, day of month, month, weekday) or six with seconds first. 0 and 7 are Sunday. `L` is the last day
//! of the month, `LW` its last weekday, `15W` the weekday nearest to the 15th within the month, `5L` the last Friday, `1#2` the
//! second Monday. Where both a day of month and a weekday are given, *either* is enough (`0 2 1 * 1`: the first of the month,
//! and every Monday), as in every cron since Vixie's; only a bare `*` or `?` leaves the decision to the other field.
//!
//! # When clocks change
//! | the schedule | a local time that does not exist | a local time that comes twice |
//! | --- | --- | --- |
//! | names its hours (`30 2 * * *`, `0 */2 * * *`) | at the first instant after the gap, once | the first time only |
//! | runs every hour (`*/15 * * * *`, `0 * * * *`) | there is none: the next one is soon enough | both times |
//!
//! So a schedule with hours makes exactly one run for each local time it names, in the order of those times (two that fall
//! into one gap are one run), and a schedule of every hour keeps its distance in elapsed time.
//!
//! # Design
//! croner reads the expression and walks the calendar, on local time without a zone. What a local time is in a zone is
//! decided here: croner's own walk through a zone drops every run in the gap for a schedule with two hours (`0 2,14 * * *`),
//! and gives up on a zone that leaves out a whole day.
//!
//! Pure: no clock is read.

use croner::Cron;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::diagnostic::Place;
use crate::error::{Error, Remedy};
use crate::job::{Schedule, read_cron};

/// A count of due times stops here: a number of missed runs beyond it tells nobody more.
pub const COUNT_MAX: u64 = 100_000;

/// Due times between two instants. There is at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// How many there are; [`COUNT_MAX`] if there are as many or more.
    pub count: u64,
    /// The first of them.
    #[serde(with = "rfc3339")]
    pub first: Timestamp,
    /// The last of them.
    #[serde(with = "rfc3339")]
    pub last: Timestamp,
}

/// Instants as RFC 3339 text in UTC, for serde.
pub mod rfc3339 {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de};

    /// Writes an instant.
    pub fn serialize<S: Serializer>(instant: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(instant)
    }

    /// Reads an instant.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Due {
    /// A single due time.
    pub fn at(instant: Timestamp) -> Due {
        Due { count: 1, first: instant, last: instant }
    }

    /// These and some others, which must be other due times.
    #[must_use]
    pub fn and(self, others: Option<Due>) -> Due {
        let Some(others) = others else { return self };
        Due { count: (self.count + others.count).min(COUNT_MAX), first: self.first.min(others.first), last: self.last.max(others.last) }
    }
}

/// A schedule, ready to be asked.
#[derive(Clone, Debug)]
pub struct Timetable {
    cron: Cron,
    zone: TimeZone,
    /// Whether it runs in every hour of its days.
    is_hourly: bool,
}

impl Timetable {
    /// The timetable of a schedule.
    ///
    /// # Errors
    /// `MendJob` if the expression or the zone cannot be read; never for a schedule of a checked job.
    pub fn of(schedule: &Schedule) -> Result<Timetable, Error> {
        let refuse = |message: String| Error::new(Remedy::MendJob, Place::of("schedule"), message).seen("no run is made by this schedule");
        let cron = read_cron(&schedule.cron).map_err(|problem| refuse(format!("`{}` is not a schedule: {problem}", schedule.cron)))?;
        let zone = TimeZone::get(&schedule.timezone).map_err(|_| refuse(format!("there is no time zone `{}`", schedule.timezone)))?;
        let is_hourly = cron.pattern.hours.values().len() == 24;
        Ok(Timetable { cron, zone, is_hourly })
    }

    /// The first due time after an instant; nothing if there is none.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        if self.is_hourly { self.next_elapsed(after) } else { self.next_local(after) }
    }

    /// The due times after `after`, up to and with `until`; nothing if there is none.
    pub fn due(&self, after: Timestamp, until: Timestamp) -> Option<Due> {
        let first = self.next(after).filter(|first| *first <= until)?;
        let mut due = Due::at(first);
        while let Some(next) = self.next(due.last).filter(|next| *next <= until) {
            if due.count == COUNT_MAX {
                due.last = self.last(due.last, until);
                break;
            }
            due.count += 1;
            due.last = next;
        }
        Some(due)
    }

    /// An instant as the clock on the wall shows it, with the zone's name: `2026-03-31 02:00 Europe/London`.
    pub fn shown(&self, instant: Timestamp) -> String {
        let zone = self.zone.iana_name().unwrap_or("UTC");
        let local = self.zone.to_datetime(instant);
        let seconds = if local.second() == 0 { String::new() } else { format!(":{:02}", local.second()) };
        // A local time that comes twice is told apart by its offset.
        let offset = if self.zone.to_ambiguous_timestamp(local).is_ambiguous() { format!(" ({})", self.zone.to_offset(instant)) } else { String::new() };
        format!("{}{seconds}{offset} {zone}", local.strftime("%Y-%m-%d %H:%M"))
    }

    /// The last due time up to `until`, which is not before `known`, a due time.
    fn last(&self, known: Timestamp, until: Timestamp) -> Timestamp {
        let mut seconds = 1_i64;
        let mut last = loop {
            let start = until.checked_sub(jiff::SignedDuration::from_secs(seconds)).unwrap_or(known).max(known);
            match self.next(start).filter(|next| *next <= until) {
                Some(next) => break next,
                None if start == known => return known,
                None => seconds = seconds.saturating_mul(4),
            }
        };
        while let Some(next) = self.next(last).filter(|next| *next <= until) {
            last = next;
        }
        last
    }

    /// Each matching local time once, in the order of local time.
    fn next_local(&self, after: Timestamp) -> Option<Timestamp> {
        // A later local time never is an earlier instant, so what lies up to the local time of `after` is done with.
        let mut local = self.zone.to_datetime(after);
        loop {
            local = self.next_on_the_wall(local)?;
            let instant = self.instant(local)?;
            if instant > after {
                return Some(instant);
            }
        }
    }

    /// Every instant whose local time matches.
    fn next_elapsed(&self, after: Timestamp) -> Option<Timestamp> {
        let mut start = after;
        let mut local = self.zone.to_datetime(after);
        loop {
            // From `start` to the next change of the zone, local time is the instant and a fixed offset.
            let offset = self.zone.to_offset(start);
            let change = self.zone.following(start).next().map(|change| change.timestamp());
            let found = self.next_on_the_wall(local).and_then(|found| offset.to_timestamp(found).ok());
            match (found, change) {
                (Some(found), Some(change)) if found >= change => {
                    start = change;
                    // The instant of the change itself may match.
                    local = self.zone.to_datetime(change).checked_sub(jiff::SignedDuration::from_secs(1)).ok()?;
                }
                (found, _) => return found,
            }
        }
    }

    /// The next matching local time, on a calendar without zones.
    fn next_on_the_wall(&self, after: DateTime) -> Option<DateTime> {
        self.cron.find_next_occurrence(&after, false).ok()
    }

    /// What a local time is: the first of two, or the end of the gap it lies in.
    fn instant(&self, local: DateTime) -> Option<Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(local);
        match ambiguous.offset() {
            jiff::tz::AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok(),
            jiff::tz::AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local).ok(),
            jiff::tz::AmbiguousOffset::Gap { after, .. } => {
                // Read with the offset after the gap, the local time is an instant before the change.
                let before = after.to_timestamp(local).ok()?;
                self.zone.following(before).next().map(|change| change.timestamp())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn timetable(cron: &str, timezone: &str) -> Timetable {
        Timetable::of(&Schedule { cron: cron.to_owned(), timezone: timezone.to_owned(), run_missed_once: true }).expect(cron)
    }

    fn instant(text: &str) -> Timestamp {
        text.parse().expect(text)
    }

    /// The first due times after an instant, on the wall.
    fn coming(cron: &str, timezone: &str, after: &str, count: usize) -> Vec<String> {
        let timetable = timetable(cron, timezone);
        let zone = TimeZone::get(timezone).expect(timezone);
        let all = std::iter::successors(timetable.next(instant(after)), |last| timetable.next(*last));
        all.take(count)
            .map(|at| at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string().replace(":00 +", " +").replace(":00 -", " -"))
            .collect()
    }

    #[test]
    fn a_night_with_a_change_of_clocks_has_exactly_one_run() {
        for (what, cron, timezone, after, expected) in [
            // London leaves out 01:00 to 02:00 on 29 March 2026, and has it twice on 25 October.
            ("after the gap", "30 2 * * *", "Europe/London", "2026-03-28T12:00:00Z", ["2026-03-29 02:30 +01:00", "2026-03-30 02:30 +01:00"]),
            ("in the gap", "30 1 * * *", "Europe/London", "2026-03-28T12:00:00Z", ["2026-03-29 02:00 +01:00", "2026-03-30 01:30 +01:00"]),
            ("twice", "30 1 * * *", "Europe/London", "2026-10-24T12:00:00Z", ["2026-10-25 01:30 +01:00", "2026-10-26 01:30 +00:00"]),
            ("after both", "30 2 * * *", "Europe/London", "2026-10-24T12:00:00Z", ["2026-10-25 02:30 +00:00", "2026-10-26 02:30 +00:00"]),
            ("asked between the two", "30 1 * * *", "Europe/London", "2026-10-25T01:10:00Z", ["2026-10-26 01:30 +00:00", "2026-10-27 01:30 +00:00"]),
            ("in Berlin's gap", "30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", ["2026-03-29 03:00 +02:00", "2026-03-30 02:30 +02:00"]),
            ("two hours a day", "0 2,14 * * *", "Europe/Berlin", "2026-03-28T20:00:00Z", ["2026-03-29 03:00 +02:00", "2026-03-29 14:00 +02:00"]),
            ("at the first instant of the gap", "0 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", ["2026-03-29 03:00 +02:00", "2026-03-30 02:00 +02:00"]),
            ("two in one gap are one run", "0,30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", ["2026-03-29 03:00 +02:00", "2026-03-30 02:00 +02:00"]),
            ("one in the gap, one at its end", "0 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", ["2026-03-29 03:00 +02:00", "2026-03-30 02:00 +02:00"]),
            ("an hour step", "0 */2 * * *", "America/New_York", "2026-03-08T06:00:00Z", ["2026-03-08 03:00 -04:00", "2026-03-08 04:00 -04:00"]),
            // Lord Howe moves by half an hour: 02:00 to 02:30 in October, back to 01:30 in April.
            ("half an hour left out", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", ["2026-10-04 02:30 +11:00", "2026-10-05 02:15 +11:00"]),
            ("half an hour twice", "45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", ["2026-04-05 01:45 +11:00", "2026-04-06 01:45 +10:30"]),
            // Beirut leaves out the first hour of the day.
            ("no midnight", "0 0 * * *", "Asia/Beirut", "2026-03-28T12:00:00Z", ["2026-03-29 01:00 +03:00", "2026-03-30 00:00 +03:00"]),
            // Samoa had no 30 December 2011: its night falls together with the first instant of the 31st.
            ("no such day", "0 2 * * *", "Pacific/Apia", "2011-12-29T22:00:00Z", ["2011-12-31 00:00 +14:00", "2011-12-31 02:00 +14:00"]),
        ] {
            assert_eq!(coming(cron, timezone, after, 2), expected, "{what}: {cron} in {timezone}");
        }
    }

    #[test]
    fn a_schedule_of_every_hour_keeps_its_distance() {
        let spring = coming("30 * * * *", "Europe/London", "2026-03-28T23:45:00Z", 3);
        assert_eq!(spring, ["2026-03-29 00:30 +00:00", "2026-03-29 02:30 +01:00", "2026-03-29 03:30 +01:00"]);
        let autumn = coming("30 * * * *", "Europe/London", "2026-10-24T23:00:00Z", 4);
        assert_eq!(autumn, ["2026-10-25 00:30 +01:00", "2026-10-25 01:30 +01:00", "2026-10-25 01:30 +00:00", "2026-10-25 02:30 +00:00"]);
        let howe = coming("*/20 * * * *", "Australia/Lord_Howe", "2026-04-04T14:35:00Z", 4);
        assert_eq!(howe, ["2026-04-05 01:40 +11:00", "2026-04-05 01:40 +10:30", "2026-04-05 02:00 +10:30", "2026-04-05 02:20 +10:30"]);
        // The change itself is a due time.
        assert_eq!(coming("0 * * * *", "Europe/Berlin", "2026-03-29T00:30:00Z", 1), ["2026-03-29 03:00 +02:00"]);
        assert_eq!(coming("0 * * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", 1), ["2026-10-25 02:00 +01:00"]);
        // In a zone that leaves out a day, the day is left out.
        assert_eq!(coming("0 * * * *", "Pacific/Apia", "2011-12-30T09:30:00Z", 1), ["2011-12-31 00:00 +14:00"]);
    }

    #[test]
    fn days_are_read_as_cron_reads_them() {
        let after = "2026-01-01T12:00:00Z";
        for (cron, expected) in [
            // 1 February 2026 is a Sunday.
            ("0 2 1 * 1", ["2026-01-05", "2026-01-12"]),
            ("0 2 13 * 5", ["2026-01-02", "2026-01-09"]),
            ("0 2 1 * ?", ["2026-02-01", "2026-03-01"]),
            ("0 2 ? * 7", ["2026-01-04", "2026-01-11"]),
            ("0 2 * * 1-5", ["2026-01-02", "2026-01-05"]),
            ("0 2 L * *", ["2026-01-31", "2026-02-28"]),
            ("0 2 LW * *", ["2026-01-30", "2026-02-27"]),
            ("0 2 1W * *", ["2026-02-02", "2026-03-02"]),
            ("0 2 15W 2,8 *", ["2026-02-16", "2026-08-14"]),
            ("0 2 * * 5L", ["2026-01-30", "2026-02-27"]),
            ("0 2 * * 1#2", ["2026-01-12", "2026-02-09"]),
            ("0 2 * * MON#5", ["2026-03-30", "2026-06-29"]),
            ("0 2 29 2 *", ["2028-02-29", "2032-02-29"]),
            ("0 2 31 * *", ["2026-01-31", "2026-03-31"]),
            ("0 2 29 2 1", ["2026-02-02", "2026-02-09"]),
        ] {
            let found: Vec<String> = coming(cron, "UTC", after, 2).iter().map(|at| at[..10].to_owned()).collect();
            assert_eq!(found, expected, "{cron}");
        }
        assert_eq!(coming("0 2 29 2 *", "UTC", "2096-03-01T00:00:00Z", 1), ["2104-02-29 02:00 +00:00"]);
        assert_eq!(coming("*/20 * * * * *", "UTC", "2026-01-01T00:00:20.5Z", 2), ["2026-01-01 00:00:40 +00:00", "2026-01-01 00:01 +00:00"]);
    }

    #[test]
    fn what_is_missed_is_counted_with_its_ends() {
        let nights = timetable("0 2 * * 1-5", "Europe/London");
        let due = |after: &str, until: &str| nights.due(instant(after), instant(until));
        // From a Thursday to the Tuesday after, across the change of clocks.
        let missed = due("2026-03-26T02:00:00Z", "2026-03-31T01:00:00Z").expect("three nights");
        assert_eq!((missed.count, missed.first, missed.last), (3, instant("2026-03-27T02:00:00Z"), instant("2026-03-31T01:00:00Z")));
        assert_eq!(due("2026-03-27T02:00:00Z", "2026-03-30T00:59:59Z"), None, "a weekend");
        assert_eq!(due("2026-03-31T01:00:00Z", "2026-03-31T01:00:00Z"), None);
        assert_eq!(due("2026-03-31T01:00:00Z", "2026-03-01T01:00:00Z"), None, "a clock that went back");
    }

    #[test]
    fn a_count_stops_and_its_ends_are_right() {
        let seconds = timetable("* * * * * *", "UTC");
        let year = seconds.due(instant("2025-01-01T00:00:00Z"), instant("2026-01-01T00:00:00.7Z")).expect("many");
        assert_eq!((year.count, year.first, year.last), (COUNT_MAX, instant("2025-01-01T00:00:01Z"), instant("2026-01-01T00:00:00Z")));
        // The last of them may lie far behind the end.
        let january = timetable("* * * 1 1 *", "UTC").due(instant("2023-12-31T00:00:00Z"), instant("2026-11-01T00:00:00Z")).expect("many");
        assert_eq!((january.count, january.last), (COUNT_MAX, instant("2026-01-01T23:59:59Z")));
    }

    #[test]
    fn a_due_time_is_shown_with_its_zone() {
        let london = timetable("30 1 * * *", "Europe/London");
        assert_eq!(london.shown(instant("2026-06-30T00:30:00Z")), "2026-06-30 01:30 Europe/London");
        assert_eq!(london.shown(instant("2026-10-25T00:30:00Z")), "2026-10-25 01:30 (+01) Europe/London");
        assert_eq!(london.shown(instant("2026-06-30T00:30:05Z")), "2026-06-30 01:30:05 Europe/London");
        assert_eq!(timetable("0 2 * * *", "UTC").shown(instant("2026-06-30T02:00:00Z")), "2026-06-30 02:00 UTC");
    }

    /// Every due time, found by trying every minute: of the wall if the schedule names its hours, of elapsed time otherwise.
    fn tried(cron: &str, timezone: &str, after: Timestamp, until: Timestamp) -> Vec<Timestamp> {
        let cron = read_cron(cron).expect(cron);
        let zone = TimeZone::get(timezone).expect(timezone);
        let minute = jiff::SignedDuration::from_mins(1);
        let mut found = Vec::new();
        if cron.pattern.hours.values().len() == 24 {
            let mut at = Timestamp::from_second(after.as_second() / 60 * 60).expect("an instant");
            while at <= until {
                if at > after && cron.is_time_matching(&zone.to_datetime(at)).expect("a match") {
                    found.push(at);
                }
                at += minute;
            }
            return found;
        }
        let day = jiff::SignedDuration::from_hours(26);
        let mut local = zone.to_datetime(after - day).date().at(0, 0, 0, 0);
        let end = zone.to_datetime(until + day);
        while local <= end {
            if cron.is_time_matching(&local).expect("a match") {
                let mut real = local;
                while zone.to_ambiguous_timestamp(real).is_ambiguous() && zone.to_ambiguous_timestamp(real).unambiguous().is_err() {
                    if matches!(zone.to_ambiguous_timestamp(real).offset(), jiff::tz::AmbiguousOffset::Fold { .. }) {
                        break;
                    }
                    real = real.checked_add(minute).expect("a local time");
                }
                found.push(zone.to_ambiguous_timestamp(real).earlier().expect("an instant"));
            }
            local = local.checked_add(minute).expect("a local time");
        }
        found.dedup();
        found.retain(|at| *at > after && *at <= until);
        found
    }

    const CRONS: &[&str] = &[
        "30 1 * * *",
        "0 2 * * *",
        "15,45 1,2,3 * * *",
        "0 0 * * *",
        "59 23 * * 0",
        "*/15 * * * *",
        "7 * * * *",
        "0 */3 * * *",
        "*/10 0-3 * * 6,7",
        "0 * 29-31 * *",
        "5 2 L * 1",
        "0 3 * * 0#1",
    ];
    const ZONES: &[&str] = &["UTC", "Europe/London", "America/New_York", "Australia/Lord_Howe", "Asia/Beirut", "America/St_Johns", "Africa/Casablanca"];

    fn near_a_change() -> impl Strategy<Value = i64> {
        let changes = ["2026-03-08T07:00:00Z", "2026-03-28T22:00:00Z", "2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z", "2026-04-04T15:00:00Z"];
        let more = ["2026-10-03T15:30:00Z", "2026-11-01T06:00:00Z", "2026-02-15T02:00:00Z", "2028-02-29T00:00:00Z"];
        let all: Vec<i64> = changes.iter().chain(&more).map(|text| instant(text).as_second()).collect();
        (proptest::sample::select(all), -90_000_i64..90_000).prop_map(|(change, off)| change + off)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        #[test]
        fn due_is_what_trying_every_minute_finds(cron in proptest::sample::select(CRONS), zone in proptest::sample::select(ZONES), start in near_a_change(), length in 0_i64..260_000) {
            let (after, until) = (Timestamp::from_second(start).expect("an instant"), Timestamp::from_second(start + length).expect("an instant"));
            let expected = tried(cron, zone, after, until);
            let timetable = timetable(cron, zone);
            let found: Vec<Timestamp> = std::iter::successors(timetable.next(after), |last| timetable.next(*last)).take_while(|at| *at <= until).collect();
            prop_assert_eq!(&found, &expected);
            let due = timetable.due(after, until);
            prop_assert_eq!(due.map(|due| (due.count, due.first, due.last)), expected.first().map(|first| (expected.len() as u64, *first, expected[expected.len() - 1])));
        }

        #[test]
        fn due_in_parts_is_due_in_one(cron in proptest::sample::select(CRONS), zone in proptest::sample::select(ZONES), start in near_a_change(), parts in proptest::collection::vec(0_i64..40_000_000, 1..12)) {
            let timetable = timetable(cron, zone);
            // In milliseconds: nobody looks at whole seconds.
            let start = Timestamp::from_millisecond(start * 1000 + 137).expect("an instant");
            let mut at = start;
            let mut sum: Option<Due> = None;
            for part in parts {
                let next = at + jiff::SignedDuration::from_millis(part);
                if let Some(due) = timetable.due(at, next) {
                    prop_assert!(due.first > at && due.last <= next && due.first <= due.last);
                    sum = Some(due.and(sum));
                }
                at = next;
            }
            prop_assert_eq!(sum, timetable.due(start, at));
        }
    }
}
