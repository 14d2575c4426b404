//! The renderers against whole reports: what a reader must find, what no reader may, and what no cell may do.

use super::due::{Due, PastMail, Why};
use super::mail::Letterhead;
use super::sample::*;
use super::*;

const FROM: &str = "tieout@example.com";

fn letterhead(to: &[String]) -> Letterhead<'_> {
    Letterhead { from: FROM, to, reply_to: None, due: Due { why: Why::Always, after: None }, by_month: false }
}

fn composed(report: &Report) -> String {
    String::from_utf8(mail::compose(report, &letterhead(&["cfo@example.com".to_owned()]), None).expect("composes")).expect("is ASCII")
}

/// Header name and unfolded value, in order.
fn headers(message: &str) -> Vec<(String, String)> {
    let head = message.split("\r\n\r\n").next().expect("has headers").replace("\r\n ", " ").replace("\r\n\t", " ");
    head.lines()
        .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("no header: {line}")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn header(message: &str, name: &str) -> Option<String> {
    headers(message).into_iter().find(|(other, _)| other == name).map(|(_, value)| value)
}

/// The decoded parts of a message: text, HTML.
fn parts(message: &str) -> (String, String) {
    let boundary = header(message, "Content-Type").and_then(|value| value.split('"').nth(1).map(str::to_owned)).expect("a boundary");
    let separator = format!("--{boundary}\r\n");
    let mut parts = message.split(&separator).skip(1).map(|part| {
        let (head, body) = part.split_once("\r\n\r\n").expect("a part has headers");
        let body = body.split(&format!("--{boundary}--")).next().unwrap_or_default();
        if head.contains("quoted-printable") { quoted_printable(body) } else { body.to_owned() }
    });
    (parts.next().expect("text"), parts.next().expect("HTML"))
}

fn quoted_printable(body: &str) -> String {
    let joined = body.replace("=\r\n", "");
    let mut bytes = Vec::new();
    let mut rest = joined.as_bytes();
    while let [first, others @ ..] = rest {
        if *first == b'=' && others.len() >= 2 {
            bytes.push(u8::from_str_radix(std::str::from_utf8(&others[..2]).expect("ASCII"), 16).expect("hexadecimal"));
            rest = &others[2..];
        } else {
            bytes.push(*first);
            rest = others;
        }
    }
    String::from_utf8(bytes).expect("UTF-8")
}

/// Every way a report is shown.
fn everywhere(report: &Report) -> Vec<(&'static str, String)> {
    let message = composed(report);
    let (mail_text, mail_html) = parts(&message);
    vec![
        ("text", text::render(report, 100)),
        ("narrow text", text::render(report, 40)),
        ("summary", text::summary(report)),
        ("html", html::render(report)),
        ("json", json::render(report)),
        ("mail text", mail_text),
        ("mail html", mail_html),
        ("subject", mail::subject(report, Why::Always)),
    ]
}

fn assert_lines(shown: &str, lines: &[&str]) {
    for line in lines {
        assert!(shown.lines().any(|other| other == *line), "no line {line:?} in\n{shown}");
    }
}

#[test]
fn the_text_says_what_an_accountant_must_do() {
    assert_lines(
        &text::render(&rich(), 100),
        &[
            "! ACTION  customers  run 20260331T010000Z",
            "  Records        8,412  in 3 systems",
            "  Changed            6  of 8 planned",
            "  Open breaks       14  +2, −1 · EUR 1,240.50",
            "  Failed writes      2  each is an open break",
            "Needs you (14)",
            "     invoicing 3,240.50  ·  sheet 2,000.00",
            "     next: `tieout review customers --break b3f2a1`",
            "     crm +49 30 901820  ·  invoicing +49 30 901821  ·  sheet (empty)",
            "  … 4 more in the list of open breaks",
            "  Closing                                1,211,491.60  1,211,491.60  1,210,251.10",
            "  Difference to `crm`                               –          0.00     -1,240.50",
            "  of it only in `crm`, 1 record                                         -1,240.51",
            "  of it within the tolerance, 3 records                                      0.01",
            "  crm        csv, peer    8,412     8,409        1     2         0            0",
            "  Breaks       2         1     1      1      0       0         9",
            "3 changes: 1 create, 2 updates; 2 verified, 1 normalised.",
            "  anna@example.com  sheet          line 17  lines 203, 1410  edited last",
            "  zoë@example.nl   sheet   update  rejected  CHECK constraint failed: credit_limit <=          twice",
            "  +clean = [\"digits\"]",
        ],
    );
}

#[test]
fn long_texts_are_compared_word_by_word() {
    let shown = text::render(&rich(), 400);
    assert!(shown.contains("Net [-30-]{+14+} days from the invoice date. Deliveries to the [-back-]{+front+} entrance"), "{shown}");
    let page = html::render(&rich());
    assert!(page.contains("Net </bdi><del class=\"gone\">30</del><ins class=\"new\">14</ins>"), "{page}");
    let mut report = rich();
    let before = format!("{} end", "same words here ".repeat(2_000));
    report.changes[1].cells[0].before = text(&before);
    report.changes[1].cells[0].after = text(&before.replace(" end", " END"));
    assert!(
        text::render(&report, 400).contains("…ame words here  [-end-]{+END+}") || text::render(&report, 400).contains("[-end-]{+END+}"),
        "a difference at the end is never cut off"
    );
}

#[test]
fn what_needs_a_person_is_sorted_by_severity_then_amount_then_age() {
    let mut report = quiet();
    let amount = |id: &str, days: i64, other: &str| {
        open_break(id, BreakKind::Amount, id, Some("credit_limit"), days, vec![held("crm", money("0.00")), held("invoicing", money(other))])
    };
    report.breaks = vec![
        open_break("locked", BreakKind::Locked, "a", None, 900, Vec::new()),
        amount("small", 90, "1.00"),
        amount("large", 1, "-1000.00"),
        amount("small-but-older", 91, "1.00"),
        open_break("kept", BreakKind::WriteNotKept, "z", None, 1, Vec::new()),
        open_break("cleared", BreakKind::Cleared, "y", None, 1, Vec::new()),
    ];
    let shown = text::render(&report, 100);
    let at = |id: &str| shown.find(&format!(" {id}  ")).unwrap_or_else(|| panic!("no {id} in {shown}"));
    let order = ["kept", "cleared", "large", "small-but-older", "small", "locked"];
    assert!(order.windows(2).all(|pair| at(pair[0]) < at(pair[1])), "{shown}");
    assert_eq!(document::open_line(&report), "EUR 1,002.00", "amounts of opposite sign are not netted");
    report.breaks[2].currency = Some("JPY".to_owned());
    assert_eq!(document::open_line(&report), "EUR 2.00, JPY 1,000", "currencies are not added up");
}

#[test]
fn plain_differences_are_sorted_by_what_they_are_worth() {
    let mut report = quiet();
    let mut missing = |id: &str, amount: Option<i128>| {
        let mut one = open_break(id, BreakKind::Missing, id, None, 1, Vec::new());
        (one.amount, one.currency) = (amount.map(|units| Decimal { units, scale: 2 }), amount.map(|_| "EUR".to_owned()));
        report.breaks.push(one);
    };
    missing("without", None);
    missing("five", Some(500));
    missing("twenty", Some(2_000));
    let ten = open_break("ten", BreakKind::Amount, "ten", Some("credit_limit"), 1, vec![held("crm", money("0.00")), held("invoicing", money("10.00"))]);
    report.breaks.insert(0, open_break("name", BreakKind::Field, "name", Some("name"), 1, Vec::new()));
    report.breaks.insert(0, ten);
    let order: Vec<&str> = document::most_urgent(&report).iter().map(|one| one.id.as_str()).collect();
    assert_eq!(order, ["twenty", "ten", "five", "without", "name"]);
}

#[test]
fn an_important_field_comes_first_and_what_is_no_money_is_told_with_what_it_counts() {
    let mut report = quiet();
    let differs = |id: &str, field: &str, kind: BreakKind, there: Value| {
        let here = if kind == BreakKind::Amount { Value::Integer(30) } else { Value::Text("DE29".to_owned()) };
        open_break(id, kind, id, Some(field), 1, vec![held("crm", here), held("invoicing", there)])
    };
    let mut terms = differs("terms", "terms", BreakKind::Amount, Value::Integer(50_060));
    terms.unit = Some("days".to_owned());
    let mut iban = differs("iban", "iban", BreakKind::Field, Value::Text("DE89".to_owned()));
    iban.important = true;
    let amount = open_break("amount", BreakKind::Amount, "amount", Some("credit_limit"), 1, vec![held("crm", money("0.00")), held("invoicing", money("9.00"))]);
    report.breaks = vec![terms, amount, open_break("kept", BreakKind::WriteNotKept, "z", None, 1, Vec::new()), iban];
    report.units.insert("terms".to_owned(), "days".to_owned());
    let shown = text::render(&report, 100);
    let at = |id: &str| shown.find(&format!(" {id}  ")).unwrap_or_else(|| panic!("no {id} in {shown}"));
    assert!(["iban", "kept", "amount", "terms"].windows(2).all(|pair| at(pair[0]) < at(pair[1])), "{shown}");
    assert!(shown.contains("Values differ · important · iban") && shown.contains("50,030 days") && shown.contains("Numbers differ · terms"), "{shown}");
    assert_eq!(document::open_line(&report), "EUR 9.00", "days are no money");
}

#[test]
fn every_kind_of_break_has_its_own_severity() {
    use BreakKind::*;
    let kinds = [
        WriteNotKept,
        WriteRejected,
        Conflict,
        Cleared,
        Frozen,
        Duplicate,
        Quarantined,
        Restored,
        Missing,
        Amount,
        Field,
        Drift,
        Orphan,
        Review,
        SuggestedLink,
        Locked,
    ];
    for (place, kind) in kinds.into_iter().enumerate() {
        assert_eq!(usize::from(severity(kind)), place, "{kind}");
    }
}

#[test]
fn what_did_not_happen_is_said() {
    let said = |report: &Report| document::not_done(report).join(" ");
    assert_eq!(said(&quiet()), "Nothing was written.");
    assert_eq!(said(&stopped()), "Nothing was written.");
    assert_eq!(said(&Report { dry_run: true, ..stopped() }), "Dry run: nothing was written.");
    let unsettled = Report { unsettled: true, ..stopped() };
    assert_eq!(said(&unsettled), "Changes had been sent when it stopped: the next run finds out what became of them.");
    assert!(mail::subject(&unsettled, Why::Always).starts_with("[FAILED] customers: stopped while it wrote, "), "{}", mail::subject(&unsettled, Why::Always));
    assert_eq!(said(&Report { audit: true, ..quiet() }), "Audit: nothing was written.");
    let mut report = rich();
    assert_eq!(said(&report), "");
    report.changes.retain(|change| change.action != Action::Delete);
    assert_eq!(said(&report), "No deletes.");
    report.changes[0].settled = Some(Settled::Unknown);
    assert_eq!(said(&report), "No deletes. Nobody knows whether 1 write arrived.");
    report.changes.iter_mut().for_each(|change| change.settled = Some(Settled::Rejected));
    assert_eq!(said(&report), "Nothing was written.");
    assert!(text::render(&stopped(), 100).contains("What would be changed (8)"));
    assert_lines(
        &text::render(&stopped(), 100),
        &["error: customers: `sheet` returned 0 rows (was 8,412)", "hint: if this is right, run again with `--allow empty`"],
    );
}

#[test]
fn a_quiet_night_is_short_and_says_both_sums() {
    let shown = text::render(&quiet(), 100);
    assert_lines(&shown, &["✓ OK  customers  run 20260331T010000Z", "Nothing was written.", "No break is open."]);
    assert!(!shown.contains("Needs you"), "{shown}");
    assert_eq!(mail::subject(&quiet(), Why::Always), "[OK] customers: nothing to do, EUR 1,211,491.60 on both sides, 31 Mar");
}

#[test]
fn a_report_without_anything_renders() {
    let empty = Report {
        job: String::new(),
        description: None,
        contact: None,
        previous_run: None,
        started: String::new(),
        plan_digest: None,
        ledger_head: None,
        sentence: String::new(),
        systems: Vec::new(),
        totals: Vec::new(),
        identities: Vec::new(),
        rules: Vec::new(),
        records: 0,
        ..quiet()
    };
    for (renderer, shown) in everywhere(&empty) {
        assert!(!shown.is_empty(), "{renderer}");
    }
}

#[test]
fn plurals_are_right() {
    let mut report = rich();
    report.changes.truncate(1);
    report.breaks.truncate(1);
    report.systems.truncate(1);
    let shown = text::render(&report, 100);
    for words in ["in 1 system\n", "1 change: 1 create; 1 verified."] {
        assert!(shown.contains(words), "no {words:?} in {shown}");
    }
    assert!(!shown.contains("1 changes") && !shown.contains("1 systems") && !shown.contains("1 rows"), "{shown}");
}

#[test]
fn long_lists_say_how_many_more_there_are() {
    let mut report = rich();
    let one = report.changes[3].clone();
    report.changes = (0..2_100).map(|number| ChangeReport { key: format!("key{number:05}"), ..one.clone() }).collect();
    assert_lines(&text::render(&report, 100), &["  … 2,060 more in report.html"]);
    let page = html::render(&report);
    assert!(page.contains("… 100 more in report.json"));
    assert!(page.contains("key01999") && !page.contains("key02000"));
    assert!(page.contains("<section id=\"changes\"><details><summary>"), "a long section starts folded");
    assert!(json::render(&report).contains("key02099"));
    let (text, html) = parts(&composed(&report));
    assert!(text.contains("… 2,090 more in report.html") && html.contains("… 2,090 more in report.html"));
}

#[test]
fn the_summary_fits_a_terminal() {
    let mut busy = stopped();
    busy.notes = (0..50).map(|number| format!("note {number} {}", "long ".repeat(60))).collect();
    busy.allowed = busy.notes.clone();
    for (index, change) in busy.changes.iter_mut().enumerate() {
        change.system = format!("system{index}");
    }
    for report in [rich(), quiet(), stopped(), hostile(), busy] {
        let shown = text::summary(&report);
        assert!(shown.lines().count() <= 25, "{shown}");
        assert!(shown.lines().all(|line| unicode_width::UnicodeWidthStr::width(line) <= 100), "{shown}");
        assert!(shown.starts_with(report.verdict.symbol()), "{shown}");
    }
    assert!(text::summary(&rich()).contains("EUR 1,240.50"));
}

#[test]
fn lines_keep_to_the_width() {
    for width in [72, 100, 160] {
        for report in [rich(), quiet(), stopped()] {
            for line in text::render(&report, width).lines() {
                // Digests and numbers are never broken where that would make them unreadable; words always are.
                assert!(unicode_width::UnicodeWidthStr::width(line) <= width, "{width}: {line}");
            }
        }
    }
}

#[test]
fn colour_is_only_where_it_is_asked_for_and_changes_no_word() {
    assert!(!text::render(&rich(), 100).contains('\u{1b}'));
    let coloured = text::render_with(&rich(), 100, text::Colour::Ansi);
    assert!(coloured.starts_with("\u{1b}[1;33m! ACTION\u{1b}[0m"));
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = after.split_once('m').expect("an escape ends").1;
    }
    plain.push_str(rest);
    assert_eq!(plain, text::render(&rich(), 100));
    assert!(text::summary_with(&rich(), text::Colour::Ansi).contains("\u{1b}[1mneeds you\u{1b}[0m"));
}

#[test]
fn the_same_report_gives_the_same_bytes() {
    for report in [rich(), stopped(), hostile()] {
        assert_eq!(everywhere(&report), everywhere(&report.clone()));
        assert_eq!(composed(&report), composed(&report.clone()));
    }
}

#[test]
fn no_cell_moves_the_terminal() {
    let report = hostile();
    for (renderer, shown) in everywhere(&report) {
        let hidden = shown.chars().find(|c| *c != '\n' && !(renderer.starts_with("mail") && *c == '\r') && shown::is_hidden(*c));
        assert_eq!(hidden, None, "{renderer} lets {hidden:?} through");
    }
    let coloured = text::render_with(&report, 100, text::Colour::Ansi);
    assert!(!coloured.contains("\u{1b}[2J") && !coloured.contains('\u{202e}'));
}

#[test]
fn no_cell_changes_the_page() {
    let tags = |page: &str| {
        let mut names: Vec<String> = Vec::new();
        for part in page.split('<').skip(1) {
            names.push(part.split(['>', ' ']).next().unwrap_or_default().to_owned());
        }
        names
    };
    const KNOWN: [&str; 42] = [
        "!doctype", "html", "head", "meta", "title", "style", "body", "main", "header", "nav", "a", "section", "details", "summary", "h1", "h2", "h3", "p",
        "span", "b", "bdi", "code", "del", "ins", "strong", "dl", "dt", "dd", "div", "ul", "ol", "li", "table", "caption", "thead", "tbody", "tr", "th", "td",
        "pre", "footer", "/",
    ];
    let report = hostile();
    let page = html::render(&report);
    let (_, mail) = parts(&composed(&report));
    for html in [&page, &mail] {
        for tag in tags(html) {
            assert!(KNOWN.contains(&tag.trim_start_matches('/')), "unknown element {tag:?}");
        }
        let opened = tags(html).iter().filter(|tag| !tag.starts_with(['/', '!']) && *tag != "meta").count();
        let closed = tags(html).iter().filter(|tag| tag.starts_with('/')).count();
        assert_eq!(opened, closed, "every element is closed");
        // Within tags, the only text of others is the value of an attribute, and there quotes are escaped.
        for tag in html.split('<').skip(1).filter_map(|part| part.split_once('>').map(|(tag, _)| tag)) {
            let unquoted: String = tag.split('"').step_by(2).collect();
            assert!(!unquoted.contains("onerror") && !unquoted.contains("img"), "{tag}");
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        }
        assert!(html.contains("&lt;script&gt;"), "hostile texts are shown, not hidden");
        assert!(!html.contains("src=\"") && !html.contains("http:") && !html.contains("https:"), "nothing is loaded from outside");
    }
}

#[test]
fn a_report_needs_no_script_and_prints() {
    let page = html::render(&rich());
    for must in [
        "<!doctype html>",
        "prefers-color-scheme:dark",
        "@media print",
        "size:A4",
        "max-width:720px",
        "<caption>",
        "scope=\"col\"",
        "scope=\"row\"",
        "default-src 'none'",
    ] {
        assert!(page.contains(must), "no {must}");
    }
    assert!(page.contains("<span class=\"verdict action\"><span aria-hidden=\"true\">!</span> ACTION</span>"));
    assert!(!page.contains("<script") && !page.contains("<img") && !page.contains("<link"));
}

#[test]
fn sensitive_fields_are_masked_everywhere() {
    let mut report = rich();
    report.sensitive = vec!["credit_limit".to_owned(), "phone".to_owned()];
    report.sentence = "The limit of one customer went from 98,000.00 to 102500.50.".to_owned();
    report.breaks[0].open.why = "`sheet` refused 3240.50: CHECK constraint failed: credit_limit <= 3000".to_owned();
    report.breaks[0].amount = Some(cents("1240.50"));
    for (renderer, shown) in everywhere(&report) {
        for secret in ["3240.50", "3,240.50", "102,500.50", "102500.50", "98,000.00", "1,240.50", "901820", "7946", "1.2O0,00", "1,211,491.60", "<= 3000 "] {
            assert!(!shown.contains(secret), "{renderer} shows {secret}: {shown}");
        }
    }
    let shown = text::render(&report, 100);
    assert!(shown.contains("invoicing •••  ·  sheet •••"), "{shown}");
    assert!(shown.contains("sheet (empty)"), "that a value is empty is no secret");
    assert!(shown.contains("The control totals of `credit_limit` are not shown: the field is sensitive."), "{shown}");
    assert!(shown.contains("Ada King, Countess"), "other fields are shown");
}

#[test]
fn keys_are_masked_where_a_key_field_is_sensitive() {
    let mut report = rich();
    report.sensitive = vec!["email".to_owned()];
    report.breaks[0].open.next_step = "run `tieout explain customers zoë@example.nl`".to_owned();
    for (renderer, shown) in everywhere(&report) {
        for secret in
            ["zoë@example.nl", "ada@example.com", "mueller@example.de", "anna@example.com", "carol@example.com", "grace@example.com", "jörg@example.de"]
        {
            assert!(!shown.contains(secret), "{renderer} shows {secret}");
        }
        assert!(renderer != "text" || shown.contains("row 05d1f0a3c7 without a key"), "what stands for a key that cannot be read is none");
    }
    assert!(text::render(&report, 100).contains("next: run `tieout explain customers •••`"));

    let mut report = quiet();
    report.key = vec!["country".to_owned(), "tax_number".to_owned()];
    report.sensitive = vec!["tax_number".to_owned()];
    report.breaks = vec![
        open_break("a1", BreakKind::Field, "DE\u{1f}12345", Some("name"), 1, Vec::new()),
        open_break("a2", BreakKind::Field, "DE / x / 98765", Some("name"), 1, Vec::new()),
    ];
    let shown = text::render(&report, 100);
    assert!(shown.contains("DE / •••, name") && !shown.contains("12345") && !shown.contains("98765"), "{shown}");
}

#[test]
fn json_is_whole_and_may_be_printed() {
    let json = json::render(&rich());
    assert!(json.ends_with("}\n"));
    let read: serde_json::Value = serde_json::from_str(&json).expect("is JSON");
    assert_eq!(read["verdict"], "ACTION");
    assert_eq!(read["totals"][0]["closing"], "1211491.60", "amounts are texts, exact");
    let read: serde_json::Value = serde_json::from_str(&json::render(&hostile())).expect("is JSON");
    assert_eq!(read["sentence"], HOSTILE, "escapes change no value");
}

#[test]
fn subjects_put_the_verdict_first_and_fit() {
    assert_eq!(mail::subject(&rich(), Why::Always), "[ACTION 14] customers: EUR 1,240.50 open, 6 changed, 2 failed writes, 31 Mar");
    assert_eq!(mail::subject(&stopped(), Why::Always), "[FAILED] customers: stopped before writing, sheet returned 0 rows (was 8,412)");
    let mut applied = Report { dry_run: false, breaks: Vec::new(), verdict: Verdict::Synced, ..rich() };
    assert_eq!(mail::subject(&applied, Why::Always), "[SYNCED] customers: 6 changed, 1 of the plan stale, 31 Mar");
    applied.stale.clear();
    let synced = applied;
    assert_eq!(mail::subject(&synced, Why::Always), "[SYNCED] customers: 6 changed, 31 Mar", "totals that differ are not called equal");
    let dry = Report { dry_run: true, breaks: Vec::new(), ..stopped() };
    assert!(mail::subject(&Report { verdict: Verdict::Ok, ..dry }, Why::Always).starts_with("[OK] customers: would change 8, nothing written"));
    let mut long = stopped();
    long.stopped_by[0].message = "word ".repeat(100);
    let mut untied = rich();
    untied.verdict = Verdict::Failed;
    untied.identities[1].holds = false;
    assert_eq!(mail::subject(&untied, Why::Always), "[FAILED] customers: does not tie out: totals of credit_limit EUR");
    for report in [rich(), stopped(), quiet(), hostile(), long, Report { job: "j".repeat(200), ..rich() }, Report { job: "j".repeat(200), ..stopped() }] {
        let subject = mail::subject(&report, Why::Always);
        assert!(subject.chars().count() <= 78, "{subject}");
        assert!(subject.starts_with(&format!("[{}", report.verdict.word())), "{subject}");
        assert!(!subject.contains(['\r', '\n']), "{subject}");
    }
}

#[test]
fn a_mail_has_its_headers_and_no_others() {
    let message = composed(&rich());
    let expected = [
        ("Date", "Tue, 31 Mar 2026 01:00:00 +0000"),
        ("Message-ID", "<20260331T010000Z.customers@example.com>"),
        ("Auto-Submitted", "auto-generated"),
        ("X-Auto-Response-Suppress", "All"),
        ("List-Id", "<customers.tieout.example.com>"),
        ("Reply-To", "Finance <finance@example.com>"),
        ("Importance", "high"),
        ("X-Tieout-Verdict", "ACTION"),
        ("X-Tieout-Run", "20260331T010000Z"),
        ("X-Tieout-Why", "always"),
    ];
    for (name, value) in expected {
        assert_eq!(header(&message, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(header(&composed(&quiet()), "Importance"), None);

    let names = |message: &str| headers(message).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let hostile = composed(&hostile());
    let allowed = names(&message);
    assert!(names(&hostile).iter().all(|name| allowed.contains(name)), "{:?}", names(&hostile));
    assert_eq!(header(&hostile, "Reply-To"), None, "a contact that is no address is not answered to");
    assert!(hostile.lines().all(|line| line.len() <= 998), "no line is longer than a server takes");
}

#[test]
fn both_parts_of_a_mail_stand_alone() {
    let (text, html) = parts(&composed(&rich()));
    for line in text.lines() {
        assert!(unicode_width::UnicodeWidthStr::width(line) <= 72, "{line}");
    }
    for part in [&text, &html] {
        let stale = ["Stale changes of the plan", "the row was edited since"];
        for must in ["ACTION", "b3f2a1", "1,240.50", "1,211,491.60", "reports/customers/20260331T010000Z/report.html"].into_iter().chain(stale) {
            assert!(part.contains(must), "no {must} in {part}");
        }
    }
    assert!(text.contains("rejected;") && html.contains("rejected</strong>; "), "what did not arrive is not shown as changed: {text}");
    assert!(html.contains("max-width:600px") && html.contains("color-scheme") && !html.contains("<img"));
    let mut huge = hostile();
    huge.breaks.iter_mut().for_each(|one| one.open.why = "&\"<>'".repeat(50_000));
    let one = huge.changes[1].clone();
    huge.changes = (0..500).map(|number| ChangeReport { system: format!("s{}", number % 40), ..one.clone() }).collect();
    let (_, html) = parts(&composed(&huge));
    assert!(html.len() < 80 * 1024, "{} bytes", html.len());
}

#[test]
fn addresses_that_are_none_are_told() {
    let to = |address: &str| mail::compose(&rich(), &letterhead(&[address.to_owned()]), None);
    for bad in ["nobody", "", "a@b\r\nBcc: c@d.example"] {
        let error = to(bad).expect_err("no address");
        assert!(error.to_string().contains("is no mail address") && error.to_string().contains("no mail was made"), "{error}");
        assert!(!error.to_string().contains('\r'), "{error:?}");
    }
    assert!(to("Zoë Müller <zoe@example.nl>").is_ok());
    assert!(mail::compose(&rich(), &letterhead(&[]), None).is_err());
}

#[test]
fn amounts_have_the_decimals_of_their_currency() {
    let mut report = quiet();
    let amount = |text: &str| Decimal::parse(text, 3).map_or(Value::Null, Value::Decimal);
    for (key, currency, value, decided) in [("j1", "JPY", "1200.000", "1201.000"), ("k1", "KWD", "1.250", "1.251"), ("e1", "EUR", "1.500", "1.505")] {
        report.currencies.insert((key.to_owned(), "amount".to_owned()), currency.to_owned());
        report.tolerated.push(ToleratedReport {
            key: key.to_owned(),
            field: "amount".to_owned(),
            system: "books".to_owned(),
            value: amount(value),
            decided: amount(decided),
            apart: None,
        });
    }
    let text = text::render(&report, 120);
    let line = |key: &str| text.lines().find(|line| line.trim_start().starts_with(key)).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(line("j1").contains(" 1,200 1,201 "), "{}", line("j1"));
    assert!(line("k1").contains(" 1.250 1.251 "), "{}", line("k1"));
    // A digit that is not zero is never hidden.
    assert!(line("e1").contains(" 1.50 1.505 "), "{}", line("e1"));
}

#[test]
fn a_mail_says_why_it_comes() {
    let past = |verdict| PastMail { at: "2026-03-29T01:00:00Z".parse().expect("a moment"), verdict, exit_code: 1, why: Why::Problem };
    let told = |report: &Report, why, after| {
        let message = mail::compose(report, &Letterhead { due: Due { why, after }, ..letterhead(&["cfo@example.com".to_owned()]) }, None).expect("composes");
        String::from_utf8(message).expect("is ASCII")
    };
    let reminder = told(&rich(), Why::Reminder, Some(past(Verdict::Action)));
    assert_eq!(header(&reminder, "Subject").as_deref(), Some("[ACTION 14] customers: still EUR 1,240.50 open, 6 changed, 31 Mar"));
    assert!(parts(&reminder).0.contains("A reminder: this was first told on 29 Mar."), "{}", parts(&reminder).0);
    let well = Report { verdict: Verdict::Ok, ..rich() };
    let recovery = told(&well, Why::Recovery, Some(past(Verdict::Failed)));
    assert_eq!(mail::subject(&quiet(), Why::Recovery), "[OK] customers: recovered, nothing to do, 31 Mar");
    assert_eq!(header(&recovery, "X-Tieout-Why").as_deref(), Some("recovery"));
    for part in [parts(&recovery).0, parts(&recovery).1] {
        assert!(part.contains("Recovered: the mail of 29 Mar said FAILED."), "{part}");
    }
    assert!(parts(&told(&well, Why::SignOfLife, None)).0.contains("The first sign of life"));
    let always = told(&quiet(), Why::Always, Some(past(Verdict::Ok)));
    assert_eq!(always, composed(&quiet()), "what was mailed before leaves no trace in an ordinary mail");
}

#[test]
fn mails_of_a_month_stand_together_where_that_is_wanted() {
    let to = ["cfo@example.com".to_owned()];
    let composed =
        |by_month| String::from_utf8(mail::compose(&rich(), &Letterhead { by_month, ..letterhead(&to) }, None).expect("composes")).expect("is ASCII");
    assert_eq!(header(&composed(false), "References"), None);
    assert_eq!(header(&composed(true), "References").as_deref(), Some("<202603.customers.month@example.com>"));
}

#[test]
fn answers_go_to_the_contact_or_where_the_settings_say() {
    let to = ["cfo@example.com".to_owned()];
    let reply_to = |report: &Report, reply_to| {
        let message = mail::compose(report, &Letterhead { reply_to, ..letterhead(&to) }, None).expect("composes");
        header(&String::from_utf8(message).expect("is ASCII"), "Reply-To")
    };
    let without = Report { contact: Some("the finance team".to_owned()), ..rich() };
    assert_eq!(reply_to(&rich(), Some("desk@example.com")).as_deref(), Some("Finance <finance@example.com>"));
    assert_eq!(reply_to(&without, Some("desk@example.com")).as_deref(), Some("desk@example.com"));
    assert_eq!(reply_to(&without, Some("no address\r\nBcc: x@y.example")), None);
}

#[test]
fn the_workbook_is_attached_where_it_fits() {
    let to = ["cfo@example.com".to_owned()];
    let mail = |workbook: Option<&[u8]>| String::from_utf8(mail::compose(&rich(), &letterhead(&to), workbook).expect("composes")).expect("is ASCII");
    let with = mail(Some(b"PK workbook"));
    let kinds: Vec<&str> = with.lines().filter(|line| line.starts_with("Content-Type: ")).map(|line| line.split(';').next().unwrap_or_default()).collect();
    let workbook = "Content-Type: application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
    assert_eq!(
        kinds,
        ["Content-Type: multipart/mixed", "Content-Type: multipart/alternative", "Content-Type: text/plain", "Content-Type: text/html", workbook]
    );
    assert!(with.contains("Content-Disposition: attachment; filename=\"report.xlsx\"") && with.contains("UEsgd29ya2Jvb2s="), "{with}");
    assert!(with.contains("All rows are in the attached workbook, report.xlsx."), "{with}");
    assert!(with.contains("more in the workbook"), "{with}");
    assert_eq!(with, mail(Some(b"PK workbook")));
    assert!(!mail(None).contains("workbook"), "nothing is said of a workbook that could not be made");
    let large = mail(Some(&vec![0; 10 * 1024 * 1024 + 1]));
    assert!(large.len() < 200 * 1024 && large.contains("The workbook has 11 MB, too many for a mail:"), "{large}");
    assert!(large.contains("reports/customers/20260331T010000Z/report.xlsx"), "{large}");
    assert!(mail(Some(&vec![0; 10 * 1024 * 1024])).len() > 10 * 1024 * 1024);
}

#[test]
fn what_a_tolerance_accepts_is_listed_with_what_to_write_off() {
    let shown = text::render(&rich(), 120);
    assert_lines(
        &shown,
        &[
            "Tolerance and proposed write-offs (1)",
            "  credit_limit  EUR       sheet   crm                  3          0.01",
            "  heidi@example.com  sheet   credit_limit  1,000.01       1,000.00   0.01",
        ],
    );
    let mut report = rich();
    report.sensitive = vec!["credit_limit".to_owned()];
    assert!(!text::render(&report, 120).contains("1,000.0"));
}

#[test]
fn what_arrived_only_when_sent_again_is_said() {
    let mut report = rich();
    report.changes[1].attempts = 3;
    let shown = text::render(&report, 100);
    assert_lines(&shown, &["Failed and retried writes (2)", "Sent again, and arrived", "  ada@example.com  invoicing  update      3 times"]);
}

#[test]
fn an_amount_that_several_breaks_tell_is_added_up_once() {
    let amount = |units: i128| Some(crate::value::Decimal { units, scale: 2 });
    let told = |id: &str, kind: BreakKind, key: &str, field: Option<&str>, units: i128| BreakReport {
        amount: amount(units),
        currency: Some("EUR".to_owned()),
        ..open_break(id, kind, key, field, 0, vec![])
    };
    let mut report = quiet();
    report.breaks = vec![
        // The same record is missing in two systems, one value of another waits in two, and a second value of it in one.
        told("ccc", BreakKind::Missing, "1", None, 50_000),
        told("aaa", BreakKind::Missing, "1", None, 50_000),
        told("bbb", BreakKind::Review, "2", Some("amount"), 2_000),
        told("ddd", BreakKind::Review, "2", Some("amount"), 2_500),
        told("eee", BreakKind::Review, "2", Some("limit"), 100),
        told("fff", BreakKind::Missing, "3", None, 50_000),
    ];
    assemble::tell_each_amount_once(&mut report.breaks);
    let repeating: Vec<&str> = report.breaks.iter().filter(|one| one.repeats).map(|one| one.id.as_str()).collect();
    assert_eq!(repeating, ["ccc", "bbb"]);
    assert_eq!(document::open_line(&report), "EUR 1,026.00");
}
