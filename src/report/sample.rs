//! Reports for tests: a rich one as a finance team would get it, an empty one, and one in which every text is hostile.

use std::collections::BTreeMap;

use super::*;
use crate::change::SystemValue;
use crate::diagnostic::Place;
use crate::frame::ControlSum;

pub(super) fn money(text: &str) -> Value {
    Value::Decimal(cents(text))
}

pub(super) fn cents(text: &str) -> Decimal {
    Decimal::parse(text, 2).expect("an amount with two decimals")
}

pub(super) fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

pub(super) fn held(system: &str, value: Value) -> SystemValue {
    SystemValue { system: system.to_owned(), value }
}

fn owner(owner: &str) -> Reason {
    Reason::OwnerWins { owner: owner.to_owned() }
}

pub(super) fn cell(field: &str, before: Value, after: Value, reason: Reason) -> CellReport {
    CellReport { field: field.to_owned(), before, after, reason }
}

fn change(system: &str, key: &str, action: Action, cells: Vec<CellReport>, settled: Settled) -> ChangeReport {
    let reason = cells.first().map_or_else(|| owner("invoicing"), |cell| cell.reason.clone());
    ChangeReport { system: system.to_owned(), key: key.to_owned(), action, reason, cells, settled: Some(settled), detail: None, attempts: 0 }
}

pub(super) fn open_break(id: &str, kind: BreakKind, key: &str, field: Option<&str>, days: i64, values: Vec<SystemValue>) -> BreakReport {
    BreakReport {
        id: id.to_owned(),
        first_run: if days == 0 { RUN.to_owned() } else { "20260324T010000Z".to_owned() },
        first_seen: "2026-03-24".to_owned(),
        age_days: days,
        amount: None,
        currency: None,
        unit: None,
        important: false,
        repeats: false,
        set_aside: None,
        decisions: Vec::new(),
        open: Break {
            kind,
            key: key.to_owned(),
            field: field.map(str::to_owned),
            system: values.last().map(|held| held.system.clone()),
            values,
            why: "nobody has decided yet".to_owned(),
            next_step: format!("`tieout review customers --break {id}`"),
        },
    }
}

const RUN: &str = "20260331T010000Z";
const NOTE_BEFORE: &str =
    "Net 30 days from the invoice date. Deliveries to the back entrance only, call Frau Müller the day before. Discount of 2 % within ten days.";
const NOTE_AFTER: &str = "Net 14 days from the invoice date. Deliveries to the front entrance only, call Frau Müller the day before. Discount of 2 % within ten days, agreed on 12 March.";

fn system(name: &str, kind: &str, role: &str, origin: &str, rows: u64, quarantined: u64) -> SystemReport {
    SystemReport {
        name: name.to_owned(),
        kind: kind.to_owned(),
        role: role.to_owned(),
        evidence: Some(Evidence {
            origin: origin.to_owned(),
            sha256: Some("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned()),
            rows_read: rows,
            rows_announced: None,
            sums: Vec::new(),
            found: BTreeMap::from([("encoding".to_owned(), "windows-1252".to_owned()), ("delimiter".to_owned(), ";".to_owned())]),
            notes: vec!["The last edit is of 2026-03-30 17:42 UTC.".to_owned()],
        }),
        counts: RowCounts { read: rows, compared: rows - quarantined - 3, repeats: 1, held: 2, filtered: 0, quarantined },
        cleaning: vec![CleaningCount { field: "name".to_owned(), rule: "no-break space removed".to_owned(), cells: 1_204 }],
        newest_edit: Some("2026-03-30T17:42:00Z".to_owned()),
        planned: BTreeMap::new(),
        settled: BTreeMap::new(),
        retries: 0,
    }
}

fn total(system: &str, group: &str, opening: &str, appeared: &str, changed: &str, closing: &str) -> TotalReport {
    TotalReport {
        field: "credit_limit".to_owned(),
        group: Some(group.to_owned()),
        system: system.to_owned(),
        opening: Some(cents(opening)),
        appeared: cents(appeared),
        vanished: cents("0"),
        changed: cents(changed),
        set_aside: cents("0"),
        returned: cents("0"),
        closing: cents(closing),
        written: cents("0"),
        after: cents(closing),
        records: 8_350,
        without_amount: 12,
        held: cents("0"),
        held_records: 0,
        incomplete: false,
    }
}

/// A night with a bit of everything.
pub(super) fn rich() -> Report {
    let mut changes = vec![
        ChangeReport {
            reason: Reason::NewRecord { system: "crm".to_owned() },
            ..change(
                "invoicing",
                "jörg@example.de",
                Action::Create,
                vec![
                    cell("email", Value::Null, text("jörg@example.de"), owner("crm")),
                    cell("name", Value::Null, text("Jörg Groß GmbH & Co. KG"), owner("crm")),
                    cell("credit_limit", Value::Null, money("1200.00"), owner("invoicing")),
                    cell("phone", Value::Null, Value::Null, owner("crm")),
                ],
                Settled::Verified,
            )
        },
        change(
            "invoicing",
            "ada@example.com",
            Action::Update,
            vec![
                cell("name", text("Ada Lovelace"), text("Ada King, Countess of Lovelace"), Reason::OnlyChange { system: "crm".to_owned() }),
                cell("phone", Value::Null, text("+44 20 7946 0018"), Reason::Filled { system: "crm".to_owned() }),
            ],
            Settled::Verified,
        ),
        change("invoicing", "tanaka@example.jp", Action::Update, vec![cell("name", text("田中"), text("田中商店"), owner("crm"))], Settled::Normalised),
        change(
            "sheet",
            "grace@example.com",
            Action::Update,
            vec![cell("credit_limit", money("98000.00"), money("102500.50"), owner("invoicing"))],
            Settled::Verified,
        ),
        change(
            "sheet",
            "mueller@example.de",
            Action::Update,
            vec![
                cell("notes", text(NOTE_BEFORE), text(NOTE_AFTER), Reason::Rule { rule: "latest".to_owned(), system: Some("crm".to_owned()) }),
                cell("credit_limit", money("500.00"), Value::Null, owner("invoicing")),
            ],
            Settled::Verified,
        ),
        change("sheet", "old@example.com", Action::Delete, vec![cell("name", text("Old Ltd"), Value::Null, owner("crm"))], Settled::Verified),
        change(
            "sheet",
            "zoë@example.nl",
            Action::Update,
            vec![cell("credit_limit", money("2000.00"), money("3240.50"), owner("invoicing"))],
            Settled::Rejected,
        ),
        change("sheet", "bob@example.com", Action::Update, vec![cell("name", text("Bob"), text("Robert"), owner("crm"))], Settled::Stale),
    ];
    changes[2].detail = Some("read back as `田中商店 `".to_owned());
    changes[5].reason = Reason::DeletedIn { system: "crm".to_owned() };
    changes[6].detail = Some("CHECK constraint failed: credit_limit <= 3000".to_owned());
    changes[6].attempts = 2;
    changes[7].detail = Some("the row holds `Bobby` now".to_owned());

    let mut breaks = vec![
        open_break(
            "b3f2a1",
            BreakKind::WriteRejected,
            "zoë@example.nl",
            Some("credit_limit"),
            7,
            vec![held("invoicing", money("3240.50")), held("sheet", money("2000.00"))],
        ),
        open_break("c09e44", BreakKind::WriteRejected, "bob@example.com", Some("name"), 0, vec![held("crm", text("Robert")), held("sheet", text("Bobby"))]),
        open_break(
            "77ad10",
            BreakKind::Conflict,
            "mueller@example.de",
            Some("phone"),
            12,
            vec![held("crm", text("+49 30 901820")), held("invoicing", text("+49 30 901821")), held("sheet", Value::Null)],
        ),
        open_break("18bb02", BreakKind::Missing, "lost@example.com", None, 45, vec![held("crm", text("present")), held("sheet", Value::Null)]),
        open_break("5e0c9d", BreakKind::Quarantined, "row 05d1f0a3c7 without a key", None, 0, Vec::new()),
    ];
    breaks[0].currency = Some("EUR".to_owned());
    breaks[0].open.why = "`sheet` refused it: CHECK constraint failed: credit_limit <= 3000".to_owned();
    for place in 0..9 {
        breaks.push(open_break(
            &format!("d{place:05}"),
            BreakKind::Field,
            &format!("customer{place}@example.com"),
            Some("name"),
            200 + place,
            vec![held("crm", text("Smith")), held("invoicing", text("Smyth"))],
        ));
    }

    Report {
        job: "customers".to_owned(),
        description: Some("Customer records in the CRM, the sales sheet and the invoicing database agree every morning.".to_owned()),
        contact: Some("Finance <finance@example.com>".to_owned()),
        run: RUN.to_owned(),
        previous_run: Some("20260330T010000Z".to_owned()),
        started: "2026-03-31T01:00:00Z".to_owned(),
        version: "0.1.0".to_owned(),
        job_file: "jobs/customers.toml".to_owned(),
        job_digest: "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae".to_owned(),
        plan_digest: Some("fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9".to_owned()),
        ledger_head: Some("0f343b0931126a20f133d67c2b018a3b5f2d1c2f7f8e2b5ad1f3a7c4d9e6b801".to_owned()),
        audit: false,
        dry_run: false,
        unsettled: false,
        verdict: Verdict::Action,
        exit_code: 1,
        sentence: "6 changes were written and verified; 14 breaks are open, 2 of them new.".to_owned(),
        stopped_by: Vec::new(),
        allowed: vec!["growth of `sheet`: 31 % more rows, limit 10 %".to_owned()],
        notes: Vec::new(),
        systems: vec![
            system("crm", "csv", "peer", "data/crm.csv", 8_412, 0),
            system("invoicing", "sql", "peer", "sqlite:data/invoicing.db customers", 8_410, 0),
            system("sheet", "csv", "target", "data/customers.csv", 8_407, 2),
        ],
        key: vec!["email".to_owned()],
        records: 8_412,
        changes,
        tolerated: vec![ToleratedReport {
            key: "heidi@example.com".to_owned(),
            field: "credit_limit".to_owned(),
            system: "sheet".to_owned(),
            value: money("1000.01"),
            decided: money("1000.00"),
            apart: Decimal::parse("0.01", 2).ok(),
        }],
        units: BTreeMap::new(),
        currencies: BTreeMap::new(),
        conflicts: vec![ConflictReport {
            key: "mueller@example.de".to_owned(),
            field: "notes".to_owned(),
            decided: text(NOTE_AFTER),
            reason: Reason::Rule { rule: "latest".to_owned(), system: Some("crm".to_owned()) },
            overridden: vec![held("sheet", text("Net 60 days."))],
        }],
        drift: vec![Drift {
            system: "sheet".to_owned(),
            key: "grace@example.com".to_owned(),
            field: "credit_limit".to_owned(),
            base: money("102500.50"),
            now: money("98000.00"),
            decided: money("102500.50"),
            restored: true,
        }],
        breaks,
        cleared: vec![ClearedBreak {
            id: "aa01ff".to_owned(),
            kind: "amount".to_owned(),
            key: "carol@example.com".to_owned(),
            field: Some("credit_limit".to_owned()),
            first_seen: "2026-03-29".to_owned(),
            how: ClearedHow::ByUs,
            amount: Some(cents("12.50")),
            currency: Some("EUR".to_owned()),
        }],
        roll_forward: Some(RollForward {
            opening: 13,
            new: 2,
            cleared_by_us: 1,
            cleared_at_source: 0,
            turned: 0,
            closing: 14,
            amounts: vec![AmountRoll {
                currency: "EUR".to_owned(),
                opening: cents("1253.00"),
                new: cents("0"),
                changed: cents("0"),
                cleared_by_us: cents("12.50"),
                cleared_at_source: cents("0"),
                turned: cents("0"),
                closing: cents("1240.50"),
            }],
        }),
        quarantined: vec![QuarantinedReport {
            system: "sheet".to_owned(),
            unkeyed: Some("row 05d1f0a3c7 without a key".to_owned()),
            row: Quarantined {
                origin: "data/customers.csv".to_owned(),
                line: 1_043,
                column: Some("Credit limit".to_owned()),
                field: Some("credit_limit".to_owned()),
                raw: Some("1.2O0,00".to_owned()),
                reason: "`1.2O0,00` is no decimal number: the letter O stands for a zero".to_owned(),
                key: None,
                id: None,
            },
        }],
        duplicates: vec![
            Duplicate {
                system: "sheet".to_owned(),
                key: "anna@example.com".to_owned(),
                survivor: Some(17),
                losers: vec![203, 1_410],
                known_by: "line".to_owned(),
                survivor_name: Some("17".to_owned()),
                loser_names: vec!["203".to_owned(), "1410".to_owned()],
                rule: "edited last".to_owned(),
            },
            Duplicate {
                system: "crm".to_owned(),
                key: "m\u{1f}x".to_owned(),
                survivor: None,
                losers: vec![5, 6],
                known_by: "id".to_owned(),
                survivor_name: None,
                loser_names: vec!["M5".to_owned(), "M6".to_owned()],
                rule: "refuse".to_owned(),
            },
        ],
        stale: vec![Stale {
            system: "invoicing".to_owned(),
            key: "ada@example.com".to_owned(),
            action: Action::Update,
            why: "the row was edited since: `city`".to_owned(),
        }],
        links: vec![LinkEvent {
            system: "invoicing".to_owned(),
            record: 7,
            key: "ada@example.com".to_owned(),
            event: "renumbered from 7 to 12".to_owned(),
            notable: true,
        }],
        totals: vec![
            total("crm", "EUR", "1204551.10", "1200.00", "5740.50", "1211491.60"),
            total("invoicing", "EUR", "1204551.10", "1200.00", "5740.50", "1211491.60"),
            total("sheet", "EUR", "1204551.10", "1200.00", "4500.00", "1210251.10"),
            total("crm", "JPY", "9000000.00", "0", "0", "9000000.00"),
            total("invoicing", "JPY", "9000000.00", "0", "0", "9000000.00"),
            total("sheet", "JPY", "9000000.00", "0", "0", "9000000.00"),
        ],
        differences: vec![Difference {
            field: "credit_limit".to_owned(),
            group: Some("EUR".to_owned()),
            system: "sheet".to_owned(),
            reference: "crm".to_owned(),
            parts: vec![
                DifferencePart { why: WhyDifferent::OnlyInReference, records: 1, amount: cents("-1240.51") },
                DifferencePart { why: WhyDifferent::WithinTolerance, records: 3, amount: cents("0.01") },
            ],
        }],
        identities: vec![
            Identity { name: "rows".to_owned(), of: "crm".to_owned(), equation: "8,412 read = 8,409 compared + 1 repeat + 2 held".to_owned(), holds: true },
            Identity {
                name: "totals".to_owned(),
                of: "credit_limit EUR".to_owned(),
                equation: "1,211,491.60 − 1,210,251.10 = 1,240.50".to_owned(),
                holds: true,
            },
        ],
        job_change: Some(JobChange {
            terms: vec!["field `phone` is now cleaned with `digits`".to_owned()],
            before: "name = \"customers\"\nkey = [\"email\"]\n\n[fields.phone]\ntype = \"text\"\nmerge = \"latest\"\n".to_owned(),
            after: "name = \"customers\"\nkey = [\"email\"]\n\n[fields.phone]\ntype = \"text\"\nclean = [\"digits\"]\nmerge = \"latest\"\n".to_owned(),
        }),
        rules: vec!["`email` belongs to `crm`.".to_owned(), "A deleted record is only reported.".to_owned()],
        sensitive: Vec::new(),
        numeric: vec!["credit_limit".to_owned()],
    }
}

/// A run that found nothing at all.
pub(super) fn quiet() -> Report {
    let rich = rich();
    Report {
        verdict: Verdict::Ok,
        exit_code: 0,
        sentence: "Nothing to do: both systems agree.".to_owned(),
        allowed: Vec::new(),
        systems: rich.systems[..2].to_vec(),
        changes: Vec::new(),
        tolerated: Vec::new(),
        currencies: BTreeMap::new(),
        conflicts: Vec::new(),
        drift: Vec::new(),
        breaks: Vec::new(),
        cleared: Vec::new(),
        roll_forward: Some(RollForward::default()),
        quarantined: Vec::new(),
        duplicates: Vec::new(),
        stale: Vec::new(),
        links: Vec::new(),
        totals: rich.totals[..2].to_vec(),
        differences: Vec::new(),
        job_change: None,
        ..rich
    }
}

/// A run that a gate stopped.
pub(super) fn stopped() -> Report {
    let mut report = rich();
    report.verdict = Verdict::Failed;
    report.exit_code = 4;
    report.sentence = "Two gates stop the run: nothing was written.".to_owned();
    report.changes.iter_mut().for_each(|change| change.settled = None);
    report.stopped_by = vec![
        Diagnostic::new(Place::of("customers"), "`sheet` returned 0 rows (was 8,412)")
            .seen("nothing was written")
            .hint("if this is right, run again with `--allow empty`"),
        Diagnostic::new(Place::of("customers"), "412 of 1,030 records of `sheet` would be deleted (40 %, limit 2 %)"),
    ];
    report
}

/// Texts that attack a page, a spreadsheet, a terminal and a mail header.
pub(super) const HOSTILE: &str = "<script>alert(1)</script>\"><img src=x onerror=y>'`=cmd|' /C calc'!A0\u{202e}gnp.exe\r\nBcc: evil@example.com\r\n\r\n\u{1b}[2J\u{9b}31m\u{7}\u{2028}&amp;{{x}}";

/// A report in which every text is [`HOSTILE`].
pub(super) fn hostile() -> Report {
    fn poison(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::String(text) => *text = HOSTILE.to_owned(),
            serde_json::Value::Array(items) => items.iter_mut().for_each(poison),
            serde_json::Value::Object(members) => members.values_mut().for_each(poison),
            _ => {}
        }
    }
    fn poisoned<T: Serialize + serde::de::DeserializeOwned>(values: &[T], keep: &[&str]) -> Vec<T> {
        values
            .iter()
            .map(|value| {
                let mut json = serde_json::to_value(value).expect("serialises");
                if let serde_json::Value::Object(members) = &mut json {
                    members.iter_mut().filter(|(name, _)| !keep.contains(&name.as_str())).for_each(|(_, member)| poison(member));
                }
                serde_json::from_value(json).expect("reads")
            })
            .collect()
    }
    let bad = || HOSTILE.to_owned();
    let mut report = rich();
    for field in [&mut report.job, &mut report.run, &mut report.version, &mut report.job_file, &mut report.job_digest, &mut report.sentence] {
        *field = bad();
    }
    for field in [&mut report.description, &mut report.contact, &mut report.previous_run, &mut report.plan_digest, &mut report.ledger_head] {
        *field = Some(bad());
    }
    for list in [&mut report.allowed, &mut report.notes, &mut report.rules, &mut report.key, &mut report.numeric] {
        *list = vec![bad()];
    }
    report.stopped_by = vec![Diagnostic::new(Place::of(bad()), bad()).seen(bad()).hint(bad())];
    for system in &mut report.systems {
        (system.name, system.kind, system.role) = (bad(), bad(), bad());
        system.newest_edit = Some(bad());
        system.cleaning = poisoned(&system.cleaning, &["cells"]);
        system.evidence = Some(Evidence {
            origin: bad(),
            sha256: Some(bad()),
            rows_read: 1,
            rows_announced: Some(2),
            sums: vec![ControlSum { column: bad(), announced: bad(), delivered: bad() }],
            found: BTreeMap::from([(bad(), bad())]),
            notes: vec![bad()],
        });
    }
    for change in &mut report.changes {
        (change.system, change.key, change.detail) = (bad(), bad(), Some(bad()));
        change.reason = Reason::Person { who: bad(), why: Some(bad()), system: None };
        for cell in &mut change.cells {
            (cell.field, cell.before, cell.after) = (bad(), text(HOSTILE), text(&format!("{HOSTILE} and more")));
            cell.reason = Reason::Rule { rule: bad(), system: Some(bad()) };
        }
    }
    for conflict in &mut report.conflicts {
        (conflict.key, conflict.field, conflict.decided) = (bad(), bad(), text(HOSTILE));
        conflict.overridden = vec![held(HOSTILE, Value::List(vec![bad(), bad()]))];
    }
    report.tolerated.iter_mut().for_each(|one| (one.system, one.key, one.field, one.value, one.decided) = (bad(), bad(), bad(), text(HOSTILE), text(HOSTILE)));
    report.drift.iter_mut().for_each(|one| (one.system, one.key, one.field, one.base, one.now) = (bad(), bad(), bad(), text(HOSTILE), text(HOSTILE)));
    for one in &mut report.breaks {
        (one.id, one.currency) = (bad(), Some(bad()));
        one.open = Break {
            values: vec![held(HOSTILE, text(HOSTILE))],
            kind: one.open.kind,
            key: bad(),
            field: Some(bad()),
            system: Some(bad()),
            why: bad(),
            next_step: bad(),
        };
    }
    report.cleared = vec![ClearedBreak {
        id: bad(),
        kind: bad(),
        key: bad(),
        field: Some(bad()),
        first_seen: bad(),
        how: ClearedHow::AtSource,
        amount: Some(Decimal { units: i128::MAX, scale: 9 }),
        currency: Some(bad()),
    }];
    report.roll_forward.iter_mut().flat_map(|roll| &mut roll.amounts).for_each(|one| one.currency = bad());
    for one in &mut report.quarantined {
        (one.system, one.unkeyed) = (bad(), Some(bad()));
        one.row =
            Quarantined { origin: bad(), line: 1, column: Some(bad()), field: Some(bad()), raw: Some(bad()), reason: bad(), key: Some(bad()), id: Some(bad()) };
    }
    report.duplicates = poisoned(&report.duplicates, &["survivor", "losers"]);
    report.stale = poisoned(&report.stale, &["action"]);
    report.links = poisoned(&report.links, &["record", "notable"]);
    report.totals.iter_mut().for_each(|total| (total.field, total.group, total.system) = (bad(), Some(bad()), bad()));
    report.identities = vec![Identity { name: bad(), of: bad(), equation: bad(), holds: false }];
    report.job_change = Some(JobChange { terms: vec![bad()], before: bad(), after: format!("{HOSTILE}\n{HOSTILE}") });
    report
}
