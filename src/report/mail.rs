//! The report as a mail: a subject that says it all, one screen of text, and the same screen as HTML.
//!
//! Pure: the same report gives the same bytes, because Message-ID, Date and the boundary between the parts come from the run
//! and not from a clock or from chance. Says what did not happen, too. Never sends anything.
//!
//! # Design
//! Every text in a header is one visible line before it gets there: no value can start a header of its own. The boundary is
//! a digest of both parts, so that no value can hold it.

use std::time::{Duration, UNIX_EPOCH};

use lettre::Message;
use lettre::message::header::{ContentTransferEncoding, ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Attachment, Body, Mailbox, MultiPart, SinglePart};
use sha2::{Digest, Sha256};

use super::document::{self, Block, Document, Extent, Need, Section, document};
use super::due::{Due, Why};
use super::html::{Skin, Writer, diagnostic, table, verdict_class};
use super::masked::masked;
use super::shown::{self, count, plural};
use super::text::{self, Colour};
use super::{Report, Verdict};
use crate::diagnostic::Place;
use crate::error::{Error, Remedy};

/// What a workbook is called in a mail.
const WORKBOOK_TYPE: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";

/// A subject has at most this many characters.
const SUBJECT_CHARACTERS_MAX: usize = 78;

/// The columns of the text part.
const TEXT_WIDTH: usize = 72;

/// A larger workbook is not attached: many servers take no larger mail.
const ATTACHMENT_BYTES_MAX: usize = 10 * 1024 * 1024;

/// The HTML part stays below this, so that no reader cuts it.
const HTML_BYTES_MAX: usize = 80 * 1024;

/// What a mail says beside its report.
#[derive(Clone, Debug)]
pub struct Letterhead<'a> {
    /// The sender.
    pub from: &'a str,
    /// The recipients.
    pub to: &'a [String],
    /// Where answers go, if the contact of the job is no mail address.
    pub reply_to: Option<&'a str>,
    /// Why the mail is due.
    pub due: Due,
    /// Whether a mail program shall show it with the other mails of its job and month.
    pub by_month: bool,
}

/// The subject: the verdict first, then what matters most, then the day; at most 78 characters in one line.
pub fn subject(report: &Report, why: Why) -> String {
    subject_of(&masked(report), why)
}

fn subject_of(report: &Report, why: Why) -> String {
    let tag = match report.verdict {
        Verdict::Action if report.calling().next().is_some() => format!("[ACTION {}]", count(report.calling().count() as u64)),
        other => format!("[{}]", other.word()),
    };
    let head = format!("{tag} {}: ", one_line(&report.job, 32));
    let day = day_of(&report.started).map(|day| format!(", {day}")).unwrap_or_default();
    let occasion = match why {
        Why::Always | Why::Changed | Why::Problem => "",
        Why::Reminder => "still ",
        Why::Recovery => "recovered, ",
        Why::SignOfLife => "still running, ",
        Why::MissedRuns => "runs were missed, ",
    };
    let head = format!("{head}{occasion}");
    let room = SUBJECT_CHARACTERS_MAX.saturating_sub(head.chars().count());
    if report.verdict == Verdict::Failed {
        return format!("{head}{}", one_line(&why_failed(report), room));
    }
    let room = room.saturating_sub(day.chars().count());
    let mut facts: Vec<String> = Vec::new();
    let writes = document::writes(report);
    let open = document::open_line(report);
    if !open.is_empty() {
        facts.push(format!("{open} open"));
    }
    if report.dry_run {
        facts.push(format!("would change {}, nothing written", count(writes.planned)));
    } else if writes.arrived > 0 {
        facts.push(format!("{} changed", count(writes.arrived)));
    } else if report.verdict == Verdict::Ok {
        facts.push("nothing to do".to_owned());
    }
    if report.verdict == Verdict::Action && writes.failed > 0 {
        facts.push(plural(writes.failed, "failed write", "failed writes"));
    }
    if !report.stale.is_empty() {
        facts.push(format!("{} of the plan stale", count(report.stale.len() as u64)));
    }
    if matches!(report.verdict, Verdict::Ok | Verdict::Synced) {
        facts.extend(both_sides(report));
    }
    if facts.is_empty() {
        facts.push(report.sentence.trim_end_matches('.').replace('`', ""));
    }
    // A fact that no longer fits is left out rather than cut in its middle; the first is always there.
    let mut text = one_line(&facts[0], room);
    for fact in &facts[1..] {
        let longer = format!("{text}, {}", one_line(fact, room));
        if longer.chars().count() <= room {
            text = longer;
        }
    }
    format!("{head}{text}{day}")
}

/// The amount on which all systems agree, if there is one.
fn both_sides(report: &Report) -> Option<String> {
    let groups = document::total_groups(report);
    let agree =
        |totals: &[&super::TotalReport]| totals.len() >= 2 && totals.iter().all(|total| total.with_held() == totals[0].with_held() && !total.incomplete);
    if groups.is_empty() || !groups.iter().all(|(_, _, totals)| agree(totals)) {
        return None;
    }
    match groups.as_slice() {
        [(_, group, totals)] => {
            let place = if totals.len() == 2 { "on both sides".to_owned() } else { format!("in all {} systems", totals.len()) };
            Some(format!("{} {place}", shown::money(totals[0].with_held().unwrap_or(totals[0].after), *group)))
        }
        several => Some(format!("{} control totals agree", several.len())),
    }
}

fn why_failed(report: &Report) -> String {
    let writes = document::writes(report);
    let when = match writes.touched {
        _ if report.unsettled => "stopped while it wrote".to_owned(),
        0 => "stopped before writing".to_owned(),
        many => format!("stopped after {}", plural(many, "write", "writes")),
    };
    let why = match (report.stopped_by.first(), report.identities.iter().find(|identity| !identity.holds)) {
        (Some(diagnostic), _) => diagnostic.message.clone(),
        (None, Some(identity)) => return format!("does not tie out: {} of {}", identity.name, identity.of).replace('`', ""),
        (None, None) => report.sentence.clone(),
    };
    format!("{when}, {}", why.replace('`', ""))
}

/// One visible line of at most `characters_max` characters.
fn one_line(text: &str, characters_max: usize) -> String {
    let text = shown::visible(text.trim()).into_owned();
    if text.chars().count() <= characters_max {
        return text;
    }
    let cut: String = text.chars().take(characters_max.saturating_sub(1)).collect();
    // Between two words, where that does not lose half of it.
    let end = cut.rfind(' ').filter(|end| *end > cut.len() / 2).unwrap_or(cut.len());
    format!("{}…", cut[..end].trim_end_matches([' ', ',', ';', ':']))
}

fn timestamp(started: &str) -> Option<jiff::Timestamp> {
    started.parse().ok()
}

/// `31 Mar`.
fn day_of(started: &str) -> Option<String> {
    let day = jiff::tz::TimeZone::UTC.to_datetime(timestamp(started)?).date();
    Some(day.strftime("%-d %b").to_string())
}

/// The mail of a run, ready to be sent or kept: a text that stands alone, the same as HTML, and the workbook attached if
/// there is one. Of a workbook of more than 10 MB the mail only says where it is.
///
/// # Errors
/// There is no recipient, or an address is none.
pub fn compose(report: &Report, letterhead: &Letterhead<'_>, workbook: Option<&[u8]>) -> Result<Vec<u8>, Error> {
    let attached = workbook.filter(|bytes| bytes.len() <= ATTACHMENT_BYTES_MAX);
    let why = letterhead.due.why;
    let mut report = masked(report).into_owned();
    if let Some(occasion) = occasion(letterhead.due) {
        report.notes.insert(0, occasion);
    }
    let report = &report;
    let place = || Place::of(shown::visible(&report.job_file));
    let mailbox = |address: &str| -> Result<Mailbox, Error> {
        if address.chars().any(shown::is_hidden) {
            return Err(no_address(place(), address));
        }
        address.trim().parse().map_err(|_| no_address(place(), address))
    };
    let from = mailbox(letterhead.from)?;
    if letterhead.to.is_empty() {
        return Err(Error::new(Remedy::MendJob, place(), "the report has no recipient").seen("no mail was made").hint("name one in `to` under `[report]`"));
    }
    let extent =
        Extent { rows_max: 10, characters_max: 120, one_screen: true, wide: false, rest: if attached.is_some() { "the workbook" } else { "report.html" } };
    let page = document(report, extent);
    let ending = ending(report, workbook, attached.is_some());
    let text = text_part(&page, &ending);
    let html = html_part(report, extent, why, &ending);

    let domain = from.email.domain().to_owned();
    let id = format!("<{}.{}@{domain}>", atom(&report.run), atom(&report.job));
    let seconds = timestamp(&report.started).map_or(0, |started| u64::try_from(started.as_second()).unwrap_or(0));
    let mut message = Message::builder()
        .from(from)
        .subject(subject_of(report, why))
        .date(UNIX_EPOCH + Duration::from_secs(seconds))
        .message_id(Some(id))
        .header(AutoSubmitted("auto-generated".to_owned()))
        .header(AutoResponseSuppress("All".to_owned()))
        .header(ListId(format!("<{}.tieout.{domain}>", atom(&report.job))))
        .header(TieoutVerdict(report.verdict.word().to_owned()))
        .header(TieoutRun(atom(&report.run)))
        .header(TieoutWhy(why.word().to_owned()));
    let to: Vec<Mailbox> = letterhead.to.iter().map(|address| mailbox(address)).collect::<Result<_, _>>()?;
    // An address beyond ASCII in a header is a message that many servers cannot take. It is named only where nobody else is.
    let is_ascii = |mailbox: &Mailbox| AsRef::<str>::as_ref(&mailbox.email).is_ascii();
    let all_are_foreign = !to.iter().any(is_ascii);
    for mailbox in to.into_iter().filter(|mailbox| all_are_foreign || is_ascii(mailbox)) {
        message = message.to(mailbox);
    }
    // The contact may be a name: it is only answered to where it is an address.
    if let Some(contact) = [report.contact.as_deref(), letterhead.reply_to].into_iter().flatten().find_map(|contact| mailbox(contact).ok()) {
        message = message.reply_to(contact);
    }
    if let Some(month) = timestamp(&report.started).filter(|_| letterhead.by_month) {
        let month = jiff::tz::TimeZone::UTC.to_datetime(month).strftime("%Y%m").to_string();
        message = message.references(format!("<{month}.{}.month@{domain}>", atom(&report.job)));
    }
    if matches!(report.verdict, Verdict::Action | Verdict::Failed) {
        message = message.header(Importance("high".to_owned()));
    }
    let digest = Sha256::new().chain_update(report.run.as_bytes()).chain_update(text.as_bytes()).chain_update(html.as_bytes()).finalize();
    let boundary: String = digest.iter().take(20).map(|byte| format!("{byte:02x}")).collect();
    let parts = MultiPart::alternative().boundary(format!("tieout-{boundary}")).singlepart(SinglePart::plain(text)).singlepart(SinglePart::html(html));
    let parts = match attached {
        None => parts,
        Some(bytes) => {
            let workbook = Attachment::new("report.xlsx".to_owned()).body(base64(bytes), ContentType::parse(WORKBOOK_TYPE).unwrap_or(ContentType::TEXT_PLAIN));
            MultiPart::mixed().boundary(format!("tieout-mixed-{boundary}")).multipart(parts).singlepart(workbook)
        }
    };
    let message = message.multipart(parts).map_err(|failure| {
        Error::new(Remedy::MendJob, place(), "the mail of the report cannot be made")
            .seen(failure.to_string())
            .seen("no mail was made")
            .hint("check `to` under `[report]`")
    })?;
    Ok(message.formatted())
}

/// A message that says that mail works.
///
/// # Errors
/// There is no recipient, or an address is none.
pub fn compose_test(from: &str, to: &[String], now: jiff::Timestamp) -> Result<Vec<u8>, Error> {
    let place = || Place::of("[mail]");
    let mailbox = |address: &str| address.trim().parse::<Mailbox>().map_err(|_| no_address(place(), address));
    let from = mailbox(from)?;
    let id = format!("<test.{}@{}>", now.as_nanosecond(), from.email.domain());
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let mut message = Message::builder()
        .from(from)
        .subject("[TEST] tieout: mail works")
        .date(UNIX_EPOCH + Duration::from_secs(seconds))
        .message_id(Some(id))
        .header(AutoSubmitted("auto-generated".to_owned()))
        .header(AutoResponseSuppress("All".to_owned()));
    for address in to {
        message = message.to(mailbox(address)?);
    }
    let text = "This is a test of tieout's mail settings. Reports will arrive the same way.\n\nNothing was read or written.\n";
    let message = message.singlepart(SinglePart::plain(text.to_owned())).map_err(|failure| {
        Error::new(Remedy::MendJob, place(), "the test mail cannot be made").seen(failure.to_string()).hint("name a recipient with `--to`")
    })?;
    Ok(message.formatted())
}

/// Why the mail comes at all, where the report itself does not tell.
fn occasion(due: Due) -> Option<String> {
    let day = due.after.map(|mail| jiff::tz::TimeZone::UTC.to_datetime(mail.at).strftime("%-d %b").to_string());
    match (due.why, day, due.after) {
        (Why::Reminder, Some(day), _) => Some(format!("A reminder: this was first told on {day}.")),
        (Why::Recovery, Some(day), Some(mail)) => Some(format!("Recovered: the mail of {day} said {}.", mail.verdict.word())),
        (Why::SignOfLife, Some(day), _) => Some(format!("A weekly sign of life: nothing needed a mail since {day}.")),
        (Why::MissedRuns, ..) => Some("This mail comes because scheduled runs were missed.".to_owned()),
        (Why::SignOfLife, None, _) => Some("The first sign of life: from now on only problems are mailed, their end, and this once a week.".to_owned()),
        _ => None,
    }
}

/// Bytes as they are, whatever they are: no line end among them may be mended on the way.
fn base64(bytes: &[u8]) -> Body {
    let encoded = Body::new_with_encoding(bytes.to_vec(), ContentTransferEncoding::Base64);
    encoded.unwrap_or_else(Body::new)
}

fn no_address(place: Place, address: &str) -> Error {
    Error::new(Remedy::MendJob, place, format!("`{}` is no mail address", one_line(address, 80)))
        .seen("no mail was made")
        .hint("write it as `name@example.com` or `Name <name@example.com>`")
}

/// The text as it may stand in an id: letters, digits, `-` and `_`.
fn atom(text: &str) -> String {
    let atom: String = text.chars().take(100).map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    if atom.is_empty() { "_".to_owned() } else { atom }
}

macro_rules! text_header {
    ($($type:ident $name:literal),+ $(,)?) => {$(
        #[derive(Clone)]
        struct $type(String);

        impl Header for $type {
            fn name() -> HeaderName {
                HeaderName::new_from_ascii_str($name)
            }

            fn parse(text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
                Ok(Self(text.to_owned()))
            }

            fn display(&self) -> HeaderValue {
                HeaderValue::new(Self::name(), self.0.clone())
            }
        }
    )+};
}

text_header! {
    AutoSubmitted "Auto-Submitted",
    AutoResponseSuppress "X-Auto-Response-Suppress",
    ListId "List-Id",
    Importance "Importance",
    TieoutVerdict "X-Tieout-Verdict",
    TieoutRun "X-Tieout-Run",
    TieoutWhy "X-Tieout-Why",
}

/// Where the whole report is, a line each.
fn ending(report: &Report, workbook: Option<&[u8]>, attached: bool) -> Vec<String> {
    let folder = format!("reports/{}/{}", one_line(&report.job, 60), one_line(&report.run, 60));
    let mut lines = Vec::new();
    match workbook {
        None => {}
        Some(_) if attached => lines.push("All rows are in the attached workbook, report.xlsx.".to_owned()),
        Some(bytes) => {
            let megabytes = count(bytes.len().div_ceil(1024 * 1024) as u64);
            lines.push(format!("The workbook has {megabytes} MB, too many for a mail:"));
            lines.push(format!("{folder}/report.xlsx"));
        }
    }
    lines.push(format!("The whole report: {folder}/report.html"));
    // A later ledger must still have this head: the mail is where nobody can alter it.
    if let Some(head) = &report.ledger_head {
        lines.push("Head of the ledger, for `tieout history --verify --head`:".to_owned());
        lines.push(one_line(head, 64));
    }
    lines
}

fn text_part(page: &Document, ending: &[String]) -> String {
    let mut text = text::lay_out(page, TEXT_WIDTH, Colour::Never);
    text.push('\n');
    text.push_str(&ending.join("\n"));
    text.push('\n');
    text
}

/// One screen of HTML. Where long values make it too large, it shows fewer rows and shorter values.
fn html_part(report: &Report, extent: Extent, why: Why, ending: &[String]) -> String {
    let mut extent = extent;
    loop {
        let html = html_of(report, &document(report, extent), why, ending);
        if html.len() < HTML_BYTES_MAX || extent.rows_max == 1 {
            return html;
        }
        extent = Extent { rows_max: (extent.rows_max / 2).max(1), characters_max: (extent.characters_max / 2).max(20), ..extent };
    }
}

fn html_of(report: &Report, page: &Document, why: Why, ending: &[String]) -> String {
    let mut out = Writer::new(Skin::Mail);
    out.raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">");
    out.raw("<meta name=\"color-scheme\" content=\"light dark\"><meta name=\"supported-color-schemes\" content=\"light dark\"><title>");
    out.text(&subject_of(report, why));
    out.raw("</title><style>");
    out.raw(MAIL_STYLE);
    out.raw("</style></head>");
    out.open("body", "body");
    out.open_with("table", "frame", &[("role", "presentation"), ("width", "100%"), ("cellpadding", "0"), ("cellspacing", "0"), ("border", "0")]);
    out.raw("<tr><td align=\"center\">");
    out.open_with("table", "sheet", &[("role", "presentation"), ("width", "100%"), ("cellpadding", "0"), ("cellspacing", "0"), ("border", "0")]);
    out.raw("<tr>");
    out.open("td", "inner");
    out.open("p", "top");
    out.open("span", verdict_class(page.verdict));
    out.text(&format!("{} {}", page.verdict.symbol(), page.verdict.word()));
    out.close("span");
    out.element("span", "quiet", &format!("  run {}", page.run));
    out.close("p");
    out.element("h1", "", &page.job);
    out.open("p", "sentence");
    out.line(&page.sentence);
    out.close("p");
    out.open_with("table", "figures", &[("role", "presentation"), ("width", "100%"), ("cellpadding", "0"), ("cellspacing", "0"), ("border", "0")]);
    out.raw("<tr>");
    for figure in &page.figures {
        out.open_with("td", "figure", &[("width", "25%"), ("valign", "top")]);
        out.element("div", "label", figure.label);
        out.element("div", "number", &figure.number);
        out.element("div", "label", &figure.note);
        out.close("td");
    }
    out.raw("</tr>");
    out.close("table");
    for remark in &page.remarks {
        out.open("p", "remark");
        out.line(remark);
        out.close("p");
    }
    for section in &page.sections {
        mail_section(&mut out, section);
    }
    out.element("p", "foot", &format!("{} · tieout {}", ending.join(" "), page.version));
    out.raw("</td></tr>");
    out.close("table");
    out.raw("</td></tr>");
    out.close("table");
    out.raw("</body></html>\n");
    out.html
}

fn mail_section(out: &mut Writer, section: &Section) {
    let title = section.count.map_or_else(|| section.title.clone(), |number| format!("{} ({})", section.title, count(number)));
    out.element("h2", "", &title);
    for block in &section.blocks {
        match block {
            Block::Line(line) => {
                out.open("p", "plain");
                out.line(line);
                out.close("p");
            }
            Block::More(text) => out.element("p", "more", text),
            Block::Heading(text) => out.element("h3", "", text),
            Block::Table(rows) => table(out, rows),
            Block::Needs(needs) => mail_needs(out, needs),
            Block::Diagnostic(one) => diagnostic(out, one),
            Block::Facts(facts) => {
                for (name, line) in facts {
                    out.open("p", "plain");
                    out.element("span", "quiet", &format!("{name}: "));
                    out.line(line);
                    out.close("p");
                }
            }
            Block::List(lines) => {
                for line in lines {
                    out.open("p", "plain");
                    out.line(line);
                    out.close("p");
                }
            }
            // A diff is no matter for one screen.
            Block::Diff(_) => {}
        }
    }
}

fn mail_needs(out: &mut Writer, needs: &[Need]) {
    out.open_with("table", "list", &[("role", "presentation"), ("width", "100%"), ("cellpadding", "0"), ("cellspacing", "0"), ("border", "0")]);
    for need in needs {
        out.raw("<tr>");
        out.open("td", "need");
        out.open("div", "what");
        out.line(&need.what);
        out.close("div");
        out.open("div", "values");
        out.line(&need.values);
        out.close("div");
        out.open("div", "why");
        out.line(&need.why);
        out.close("div");
        out.open("div", "next");
        out.element("b", "", "Next: ");
        out.line(&need.next);
        out.close("div");
        out.close("td");
        out.open("td", "side");
        if let Some(amount) = &need.amount {
            out.element("div", "amount", amount);
        }
        out.element("div", "quiet", &need.age);
        out.element("div", "quiet", &need.id);
        out.close("td");
        out.raw("</tr>");
    }
    out.close("table");
}

/// The style of an element of a mail, where the style sheet may be thrown away by the reader.
pub(super) fn style_of(tag: &'static str, class: &'static str) -> &'static str {
    match (tag, class) {
        ("body", _) => "margin:0;padding:0;background-color:#ffffff;color:#1c2430;font-family:Arial,Helvetica,sans-serif;font-size:14px;line-height:1.45",
        ("table", "frame") => "border-collapse:collapse;background-color:#ffffff",
        ("table", "sheet") => "border-collapse:collapse;max-width:600px;background-color:#ffffff;color:#1c2430",
        ("td", "inner") => "padding:20px 16px;text-align:left;font-family:Arial,Helvetica,sans-serif;font-size:14px;line-height:1.45;color:#1c2430",
        ("p", "top") => "margin:0 0 10px",
        ("span", "verdict ok") => "display:inline-block;padding:3px 10px;border:1px solid #14683a;font-weight:bold;color:#14683a;background-color:#e2f3e8",
        ("span", "verdict synced") => "display:inline-block;padding:3px 10px;border:1px solid #14568c;font-weight:bold;color:#14568c;background-color:#e1eefa",
        ("span", "verdict action") => "display:inline-block;padding:3px 10px;border:1px solid #8a4b00;font-weight:bold;color:#8a4b00;background-color:#fdeed3",
        ("span", "verdict failed") => "display:inline-block;padding:3px 10px;border:1px solid #a3171b;font-weight:bold;color:#a3171b;background-color:#fce3e2",
        ("h1", _) => "margin:0 0 6px;font-size:22px;line-height:1.25",
        ("h2", _) => "margin:24px 0 8px;padding-bottom:4px;border-bottom:1px solid #c9d0d8;font-size:16px;line-height:1.3",
        ("h3", _) => "margin:14px 0 4px;font-size:14px",
        ("p", "sentence") => "margin:0 0 14px;font-size:16px;word-break:break-word",
        ("p", "remark" | "plain") => "margin:0 0 6px;word-break:break-word",
        ("p", "more") => "margin:6px 0;color:#5f6b7a",
        ("p", "foot") => "margin:26px 0 0;padding-top:10px;border-top:1px solid #c9d0d8;font-size:12px;color:#5f6b7a;word-break:break-word",
        ("p", "message") => "margin:0 0 4px;font-weight:bold;word-break:break-word",
        ("p", "seen") => "margin:0 0 2px;word-break:break-word",
        ("p", "next") => "margin:4px 0 0;word-break:break-word",
        ("div", "diagnostic") => "margin:0 0 12px;padding-left:12px;border-left:3px solid #a3171b",
        ("table", "figures") => "border-collapse:collapse;margin:0 0 14px;border:1px solid #d5dae0",
        ("td", "figure") => "padding:8px 10px;border-left:1px solid #d5dae0;text-align:left",
        ("div", "label") => "font-size:12px;color:#5f6b7a;word-break:break-word",
        ("div", "number") => "font-size:20px;font-weight:bold;line-height:1.3",
        ("table", "list") => "border-collapse:collapse;width:100%;margin:0 0 12px;font-size:13px;line-height:1.4",
        ("caption", _) => "text-align:left;font-size:12px;color:#5f6b7a;padding:0 0 2px",
        ("th", "right") => "text-align:right;vertical-align:top;padding:4px 10px 4px 0;border-bottom:1px solid #d5dae0;font-size:12px;white-space:nowrap",
        ("th", "long") => "text-align:left;vertical-align:top;padding:4px 10px 4px 0;border-bottom:1px solid #d5dae0;font-size:12px;word-break:break-word",
        ("th", _) => "text-align:left;vertical-align:top;padding:4px 10px 4px 0;border-bottom:1px solid #d5dae0;font-size:12px",
        ("td", "right") => "text-align:right;vertical-align:top;padding:4px 10px 4px 0;border-bottom:1px solid #d5dae0;white-space:nowrap",
        ("td", "right sum") => "text-align:right;vertical-align:top;padding:4px 10px 4px 0;border-bottom:1px solid #d5dae0;white-space:nowrap;font-weight:bold",
        ("td", "need") => "padding:9px 10px 9px 0;border-bottom:1px solid #d5dae0;vertical-align:top;text-align:left;word-break:break-word",
        ("td", "side") => "padding:9px 0;border-bottom:1px solid #d5dae0;vertical-align:top;text-align:right;white-space:nowrap",
        ("td", "long") => "text-align:left;vertical-align:top;padding:4px 10px 4px 0;border-bottom:1px solid #d5dae0;word-break:break-word",
        ("td", _) => "text-align:left;vertical-align:top;padding:4px 10px 4px 0;border-bottom:1px solid #d5dae0",
        ("div", "what" | "amount") => "font-weight:bold",
        ("div" | "span", "quiet") | ("div", "why") => "color:#5f6b7a;font-weight:normal",
        ("span", "empty") => "color:#5f6b7a;font-style:italic",
        ("span", "good") => "color:#14683a",
        ("strong", _) => "color:#a3171b",
        ("del", _) => "color:#a3171b;text-decoration:line-through",
        ("ins", _) => "color:#14683a;text-decoration:underline",
        ("code", _) => "font-family:Consolas,Menlo,monospace;font-size:13px",
        _ => "",
    }
}

/// Readers that know dark mode take these instead; the others show dark on white.
const MAIL_STYLE: &str = ":root{color-scheme:light dark;supported-color-schemes:light dark}\
@media (prefers-color-scheme:dark){\
.body,.frame,.sheet{background-color:#14181e!important;color:#e4e8ee!important}\
.inner{color:#e4e8ee!important}\
.quiet,.why,.label,.more,.foot,.empty,caption{color:#9aa6b5!important}\
.good,ins{color:#7fd6a0!important}.bad,del{color:#ff9d98!important}\
.ok{color:#7fd6a0!important;background-color:#143322!important}.synced{color:#8cc4f5!important;background-color:#142c42!important}\
.action{color:#f3bd6b!important;background-color:#3b2a0e!important}.failed{color:#ff9d98!important;background-color:#431a1a!important}\
th,td,h2,.figures,.foot{border-color:#323a45!important}}";
