//! The page of all jobs: their last runs, and how many breaks were open over time. One file, no scripts, nothing from outside.
//!
//! Beside the reports of a job stands the list of its last runs, one line each, from which the page is made. What the page
//! shows is what the reports said, masked as they are: it knows no value of any record.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::html::{PAGE_STYLE, Skin, Writer, verdict_class};
use super::masked::masked;
use super::shown::{self, count, plural};
use super::{Report, Verdict, document};

/// So many runs of a job are kept in its list.
const RUNS_MAX: usize = 400;

/// So many of them are shown in a table.
const ROWS_MAX: usize = 10;

/// So many of them are in the chart.
const POINTS_MAX: usize = 90;

/// One run in the list of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunLine {
    /// The run.
    pub run: String,
    /// The command that made it.
    pub command: String,
    /// The start, RFC 3339 in UTC.
    pub started: String,
    /// How it ended.
    pub verdict: Verdict,
    /// How it ended, in one sentence.
    pub sentence: String,
    /// How many changes were verified.
    pub changed: u64,
    /// How many breaks it left open; nothing where it did not come to its end.
    pub open: Option<u64>,
    /// What is at stake in them.
    pub amounts: String,
}

/// The list of a job's runs as [`written`] wrote it, the oldest first. A list that cannot be read is begun anew: the reports
/// themselves are the record.
pub fn read(bytes: &[u8]) -> Vec<RunLine> {
    serde_json::from_slice(bytes).unwrap_or_default()
}

/// The list with this run at its end, and without the oldest where it is long.
pub fn with(mut runs: Vec<RunLine>, report: &Report, command: &str) -> Vec<RunLine> {
    let report = &*masked(report);
    runs.retain(|line| line.run != report.run);
    runs.push(RunLine {
        run: report.run.clone(),
        command: command.to_owned(),
        started: report.started.clone(),
        verdict: report.verdict,
        sentence: report.sentence.clone(),
        changed: document::writes(report).arrived,
        open: report.roll_forward.as_ref().map(|roll| roll.closing),
        amounts: document::open_line(report),
    });
    let surplus = runs.len().saturating_sub(RUNS_MAX);
    runs.drain(..surplus);
    runs
}

/// The list as it is stored.
pub fn written(runs: &[RunLine]) -> Vec<u8> {
    // Plain data always has a JSON text.
    let mut bytes = serde_json::to_vec_pretty(runs).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// The page of all jobs, by name. A job without a run is not among them.
pub fn render(jobs: &BTreeMap<String, Vec<RunLine>>) -> String {
    let mut out = Writer::new(Skin::Page);
    out.raw("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    out.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">");
    out.raw("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">");
    out.raw("<meta name=\"referrer\" content=\"no-referrer\"><title>tieout: all jobs</title><style>");
    out.raw(PAGE_STYLE);
    out.raw(INDEX_STYLE);
    out.raw("</style></head>\n<body><main class=\"jobs\"><header><h1>Jobs</h1><p class=\"sentence\">");
    let jobs: Vec<(&String, &Vec<RunLine>)> = jobs.iter().filter(|(_, runs)| !runs.is_empty()).collect();
    let last = |runs: &[RunLine]| runs.iter().rev().find(|line| line.command == "run").or(runs.last()).map(|line| line.verdict);
    let waiting: Vec<&str> =
        jobs.iter().filter(|(_, runs)| matches!(last(runs), Some(Verdict::Action | Verdict::Failed))).map(|(name, _)| name.as_str()).collect();
    out.text(&match waiting.as_slice() {
        [] => format!("{}, and nothing waits for a person.", plural(jobs.len() as u64, "job", "jobs")),
        some => {
            format!("Needs a person: {} ({} of {}).", shown::visible(&some.join(", ")), count(some.len() as u64), plural(jobs.len() as u64, "job", "jobs"))
        }
    });
    out.raw("</p></header>");
    for (name, runs) in &jobs {
        job(&mut out, name, runs);
    }
    if jobs.is_empty() {
        out.raw("<p class=\"quiet\">No job has run yet.</p>");
    }
    out.raw("</main></body></html>\n");
    out.html
}

fn job(out: &mut Writer, name: &str, runs: &[RunLine]) {
    let Some(last) = runs.iter().rev().find(|line| line.command == "run").or(runs.last()) else { return };
    out.raw("<section><div class=\"job\"><div><h2>");
    out.text(&shown::visible(name));
    out.raw("</h2><p class=\"line\">");
    badge(out, last.verdict);
    out.element("span", "quiet", &format!(" {}", at(&last.started)));
    out.raw("</p><p>");
    out.line(&[document::Piece::Words(shown::visible(&last.sentence).into_owned())]);
    out.raw("</p>");
    if !last.amounts.is_empty() {
        out.element("p", "quiet", &format!("open: {}", shown::visible(&last.amounts)));
    }
    out.raw("</div>");
    chart(out, runs);
    out.raw("</div><div class=\"wide\"><table class=\"list\"><caption>Last runs</caption><thead><tr>");
    for (heading, class) in [("Run", ""), ("Verdict", ""), ("Started (UTC)", ""), ("Changed", "right"), ("Open", "right"), ("How it ended", "")] {
        out.open_with("th", class, &[("scope", "col")]);
        out.text(heading);
        out.close("th");
    }
    out.raw("</tr></thead><tbody>");
    for line in runs.iter().rev().take(ROWS_MAX) {
        out.raw("<tr><th scope=\"row\"><div>");
        let shown_run = shown::visible(&line.run);
        if is_path_part(name) && is_path_part(&line.run) {
            out.open_with("a", "", &[("href", &format!("{name}/{}/report.html", line.run))]);
            out.text(&shown_run);
            out.close("a");
        } else {
            out.text(&shown_run);
        }
        out.raw("</div></th>");
        let verdict = if line.command == "run" { line.verdict.word().to_owned() } else { format!("{} ({})", line.verdict.word(), line.command) };
        let open = line.open.map_or_else(|| "–".to_owned(), count);
        let cells = [("Verdict", "", verdict), ("Started (UTC)", "", at(&line.started)), ("Changed", "right", count(line.changed)), ("Open", "right", open)];
        for (label, class, text) in cells {
            out.open_with("td", class, &[("data-label", label)]);
            out.element("div", "", &shown::visible(&text));
            out.close("td");
        }
        out.open_with("td", "", &[("data-label", "How it ended")]);
        out.raw("<div>");
        out.line(&[document::Piece::Words(shown::visible(&line.sentence).into_owned())]);
        out.raw("</div></td></tr>");
    }
    out.raw("</tbody></table></div></section>");
}

fn badge(out: &mut Writer, verdict: Verdict) {
    out.open("span", verdict_class(verdict));
    out.open_with("span", "", &[("aria-hidden", "true")]);
    out.text(verdict.symbol());
    out.close("span");
    out.text(&format!(" {}", verdict.word()));
    out.close("span");
}

/// Whether a name can stand in a relative link as it is, and stays below the page.
fn is_path_part(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// `2026-03-31 01:00`.
fn at(started: &str) -> String {
    match started.parse::<jiff::Timestamp>() {
        Ok(instant) => jiff::tz::TimeZone::UTC.to_datetime(instant).strftime("%Y-%m-%d %H:%M").to_string(),
        Err(_) => shown::visible(started).into_owned(),
    }
}

/// The open breaks of the last runs that came to their end: a line over time, each run a point with its number.
fn chart(out: &mut Writer, runs: &[RunLine]) {
    const WIDTH: i64 = 340;
    const HEIGHT: i64 = 72;
    const LEFT: i64 = 6;
    const RIGHT: i64 = 44;
    const TOP: i64 = 10;
    const BOTTOM: i64 = 16;
    let points: Vec<(i64, u64, &RunLine)> =
        runs.iter().filter_map(|line| Some((line.started.parse::<jiff::Timestamp>().ok()?.as_second(), line.open?, line))).collect();
    let points = &points[points.len().saturating_sub(POINTS_MAX)..];
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return };
    let most = points.iter().map(|point| point.1).max().unwrap_or(0).max(1);
    let span = (last.0 - first.0).max(1);
    let place = |seconds: i64, open: u64| {
        let x = if points.len() == 1 { WIDTH - RIGHT } else { LEFT + (seconds - first.0) * (WIDTH - LEFT - RIGHT) / span };
        let height = i64::try_from(u128::from(open) * ((HEIGHT - TOP - BOTTOM) as u128) / u128::from(most)).unwrap_or(0);
        (x, HEIGHT - BOTTOM - height)
    };
    let label = format!(
        "Open breaks over {}: {} on {}, {} on {}",
        plural(points.len() as u64, "run", "runs"),
        first.1,
        at(&first.2.started),
        last.1,
        at(&last.2.started)
    );
    let (width, height) = (WIDTH.to_string(), HEIGHT.to_string());
    out.open_with(
        "svg",
        "chart",
        &[("role", "img"), ("aria-label", &label), ("viewBox", &format!("0 0 {WIDTH} {HEIGHT}")), ("width", &width), ("height", &height)],
    );
    let line = |out: &mut Writer, y: i64| {
        let (y, end) = (y.to_string(), (WIDTH - RIGHT).to_string());
        out.open_with("line", "axis", &[("x1", &LEFT.to_string()), ("x2", &end), ("y1", &y), ("y2", &y)]);
        out.close("line");
    };
    line(out, HEIGHT - BOTTOM);
    // A count stays what it is until the next run: steps, not slopes.
    let mut path = String::new();
    for (seconds, open, _) in points {
        let (x, y) = place(*seconds, *open);
        path.push_str(&if path.is_empty() { format!("M{x} {y}") } else { format!("H{x}V{y}") });
    }
    out.open_with("path", "curve", &[("d", &path)]);
    out.close("path");
    for (seconds, open, run) in points {
        let (x, y) = place(*seconds, *open);
        out.open_with("circle", "point", &[("cx", &x.to_string()), ("cy", &y.to_string()), ("r", if points.len() > 30 { "1.5" } else { "2.5" })]);
        out.element("title", "", &format!("{}: {} open", at(&run.started), count(*open)));
        out.close("circle");
    }
    let mut words = |x: i64, y: i64, anchor: &'static str, text: &str| {
        out.open_with("text", "", &[("x", &x.to_string()), ("y", &y.to_string()), ("text-anchor", anchor)]);
        out.text(text);
        out.close("text");
    };
    let (x, y) = place(last.0, last.1);
    words(x + 7, y + 4, "start", &format!("{} open", count(last.1)));
    let day = |line: &RunLine| at(&line.started).chars().take(10).collect::<String>();
    if points.len() > 1 {
        words(LEFT, HEIGHT - 3, "start", &day(first.2));
        words(WIDTH - RIGHT, HEIGHT - 3, "end", &day(last.2));
    }
    out.close("svg");
}

const INDEX_STYLE: &str = ".jobs section{margin-top:40px}\
.job{display:flex;flex-wrap:wrap;justify-content:space-between;gap:8px 32px;align-items:flex-start}\
.job>div{flex:1 1 20em}\
.jobs h2{display:block;margin:0 0 6px}\
.jobs .line{margin:0 0 8px}\
.chart{max-width:100%;height:auto;flex:none}\
.chart .axis{stroke:var(--line)}\
.chart .curve{fill:none;stroke:var(--accent);stroke-width:1.5}\
.chart .point{fill:var(--accent)}\
.chart text{fill:var(--quiet);font-size:10px}";

#[cfg(test)]
mod tests {
    use super::super::sample::{HOSTILE, hostile, quiet, rich};
    use super::*;

    fn line(day: u32, open: Option<u64>) -> RunLine {
        RunLine {
            run: format!("202603{day:02}T010000Z"),
            command: "run".to_owned(),
            started: format!("2026-03-{day:02}T01:00:00Z"),
            verdict: Verdict::Action,
            sentence: "nothing to do, 2 breaks are open".to_owned(),
            changed: 0,
            open,
            amounts: String::new(),
        }
    }

    #[test]
    fn a_list_keeps_the_last_runs_each_once() {
        let mut runs = Vec::new();
        for _ in 0..2 {
            runs = with(runs, &rich(), "run");
        }
        assert_eq!(runs.len(), 1);
        assert_eq!(read(&written(&runs)), runs);
        assert_eq!(read(b"[{"), []);
        let many: Vec<RunLine> = (0..RUNS_MAX + 20).map(|number| RunLine { run: number.to_string(), ..line(1, None) }).collect();
        let kept = with(many, &quiet(), "plan");
        assert_eq!((kept.len(), kept[0].run.as_str()), (RUNS_MAX, "21"));
        assert_eq!(kept[RUNS_MAX - 1].command, "plan");
    }

    #[test]
    fn the_page_shows_every_job_with_its_runs_and_a_chart() {
        let runs = vec![line(1, Some(0)), line(2, None), line(11, Some(4)), line(12, Some(2))];
        let page = render(&BTreeMap::from([("billing".to_owned(), runs.clone()), ("customers".to_owned(), vec![line(3, Some(7))])]));
        assert!(page.contains("Needs a person: billing, customers (2 of 2 jobs)."), "{page}");
        assert!(page.contains("<a href=\"billing/20260312T010000Z/report.html\">"), "{page}");
        assert!(page.contains("aria-label=\"Open breaks over 3 runs: 0 on 2026-03-01 01:00, 2 on 2026-03-12 01:00\""), "{page}");
        // Ten of eleven days later it rises to the top, and then falls to the half.
        assert!(page.contains("d=\"M6 56H269V10H296V33\""), "{page}");
        assert!(page.contains(">7 open</text>"), "{page}");
        assert!(!page.contains("<script") && !page.contains("http:") && !page.contains("https:"), "{page}");
    }

    #[test]
    fn no_run_changes_the_page_or_leads_elsewhere() {
        let mut runs = with(Vec::new(), &hostile(), "run");
        runs[0].started = HOSTILE.to_owned();
        let page = render(&BTreeMap::from([(HOSTILE.to_owned(), runs), ("..".to_owned(), vec![line(1, Some(u64::MAX)), line(2, Some(0))])]));
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script") && !page.contains("<img"), "{page}");
        assert!(!page.contains("href=\"../"), "{page}");
        assert_eq!(page.chars().find(|c| *c != '\n' && shown::is_hidden(*c)), None);
        assert!(render(&BTreeMap::new()).contains("No job has run yet."));
    }
}
