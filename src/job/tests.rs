//! Job files, right and wrong, as people write them.

use super::*;
use crate::error::{Error, Remedy};
use crate::value::{Decimal, FieldType, Tolerance, Value};

/// Customers in two files and a database.
const CUSTOMERS: &str = r#"name = "customers"
description = "Customer records in the CRM export, the sales sheet and the invoicing database agree every morning."
key = ["email"]
mode = "sync"
contact = "finance@example.com"

[schedule]
cron = "0 2 * * 1-5"
timezone = "Europe/London"
missed = "run-once"

[systems.crm]
kind = "csv"
role = "peer"
path = "data/crm.csv"
edited_at = { name = "Updated", format = "%d.%m.%Y %H:%M", timezone = "Europe/Berlin" }

[systems.sheet]
kind = "csv"
role = "peer"
path = "data/customers.csv"
delimiter = ";"
encoding = "windows-1252"
only = { Status = ["active", " new "] }

[systems.invoicing]
kind = "sql"
role = "peer"
url = "sqlite:data/invoicing.db"
table = "customers"
id = "customer_id"
edited_at = "updated_at"
may = { create = "apply", update = "review", delete = "never" }

[fields.email]
type = "text"
columns = { crm = "email", sheet = "E-mail", invoicing = "email" }
clean = ["email"]
owner = "crm"

[fields.name]
type = "text"
columns = { crm = "name", sheet = "Customer", invoicing = "name" }
clean = ["collapse-spaces"]
merge = { priority = ["crm", "invoicing", "sheet"] }

[fields.phone]
type = "text"
columns = { crm = "phone", invoicing = "phone" }
merge = "latest"

[fields.currency]
type = "text"
columns = { sheet = "Currency", invoicing = "currency" }
owner = "invoicing"

[fields.credit_limit]
type = "decimal(2)"
columns = { sheet = { name = "Credit limit", decimal = "," }, invoicing = "credit_limit" }
owner = "invoicing"
tolerance = "0.01"

[dedupe]
keep = "refuse"

[deletes]
policy = "report"

[gates]
deletes = "2%"
updates = 500
growth = "2.5x"

[gates.sheet]
shrink = "off"
empty = "off"

[totals]
credit_limit = { by = "currency" }

[report]
to = ["finance@example.com"]
when = "always"
"#;

fn file(path: &str, text: &str) -> JobFile {
    JobFile { path: path.to_owned(), text: text.to_owned() }
}

fn check_one(text: &str) -> Result<Job, Vec<String>> {
    check_all(&[file("jobs/customers.toml", text)]).map(|mut jobs| jobs.remove(0))
}

/// The jobs, or each mistake as `place: message` with its hint behind `?`.
fn check_all(files: &[JobFile]) -> Result<Vec<Job>, Vec<String>> {
    check(files, &Settings::default()).map_err(|mistakes| {
        mistakes
            .iter()
            .map(|mistake| {
                let hint = mistake.hint.as_ref().map(|hint| format!(" ? {hint}")).unwrap_or_default();
                format!("{}: {}{hint}", mistake.place, mistake.message)
            })
            .collect()
    })
}

/// The file with a piece replaced, which must be there once.
fn with(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from:?} stands once in the file");
    text.replace(from, to)
}

/// Each slip of the pen: a piece of [`CUSTOMERS`], what stands there instead, and every mistake that is told, with its hint
/// behind `?`.
const SLIPS: &[(&str, &str, &[&str])] = &[
    // syntax
    (
        "key = [\"email\"]",
        "key = [\"email\"",
        &["4:1: this is not TOML: missing comma between array elements, expected `,` ? is a comma, a `]` or a `}` missing?"],
    ),
    ("mode = \"sync\"", "mode = sync", &["4:8: this is not TOML: string values must be quoted, expected literal string"]),
    ("contact = ", "mode = ", &["5:1: `mode` is given twice ? keep one of the two"]),
    ("[dedupe]", "[deletes]", &["66:2: `deletes` is given twice ? keep one of the two"]),
    // keys and words
    ("mode = \"sync\"", "mod = \"sync\"", &["4:1: unknown key `mod` ? did you mean `mode`?"]),
    ("mode = \"sync\"", "mode = \"snyc\"", &["4:8: `mode` cannot be `snyc` ? did you mean `sync`?"]),
    ("mode = \"sync\"", "mode = true", &["4:8: `mode` cannot be `true`"]),
    ("[dedupe]", "[dedup]", &["63:2: unknown key `dedup` ? did you mean `dedupe`?"]),
    ("owner = \"crm\"", "ownr = \"crm\"", &["39:1: unknown key `ownr` in `fields.email` ? did you mean `owner`?"]),
    ("name = \"customers\"\n", "", &["1:1: the file has no `name`"]),
    ("name = \"customers\"", "name = \"Customers\"", &["1:8: `Customers` cannot be the name of a job"]),
    (
        "name = \"customers\"",
        "name = \"index\"",
        &["1:8: `index` cannot be the name of a job: the reports folder uses it ? choose another name, and rename the file"],
    ),
    (
        "name = \"customers\"",
        "name = \"customer\"",
        &[r#"1:8: the job is called `customer`, and its file `customers.toml` ? write `name = "customers"`, or rename the file to `customer.toml`"#],
    ),
    (
        "contact = \"finance@example.com\"",
        "contact = \"finance\"",
        &["5:11: `contact` is not a mail address: `finance` ? write it as `finance@example.com`, or `Finance <finance@example.com>`"],
    ),
    ("key = [\"email\"]", "key = [\"emial\"]", &["3:8: `key` names field `emial`, which the job does not have ? did you mean `email`?"]),
    ("key = [\"email\"]", "key = []", &["3:7: `key` names no field ? name the fields that identify a record"]),
    ("key = [\"email\"]", "key = \"email\"", &["3:7: `key` must be a list, not text"]),
    ("key = [\"email\"]", "key = [\"email\", \"email\"]", &["3:17: `key` names field `email` twice"]),
    (
        "key = [\"email\"]",
        "key = [\"email\", \"phone\"]",
        &[r#"49:11: key field `phone` has no column in system `sheet` ? add `sheet = ".."` to its `columns`"#],
    ),
    (
        "key = [\"email\"]",
        "key = [\"email\"]\nattempts = 0",
        &[r#"4:12: `attempts` is 0: nothing would ever be written ? to write nothing, set `mode = "audit"`"#],
    ),
    (
        "key = [\"email\"]",
        "key = [\"email\"]\napply = { retry_for_s = 3601 }",
        &["4:25: `apply.retry_for_s` must lie between 0 and 3600 ? whatever takes longer is tried again by the next run"],
    ),
    ("key = [\"email\"]", "key = [\"email\"]\napply = { retry_for = 30 }", &["4:11: unknown key `retry_for` in `apply` ? did you mean `retry_for_s`?"]),
    ("key = [\"email\"]", "key = [\"email\"]\nattempts = -1", &["4:12: `attempts` must lie between 0 and 4294967295"]),
    ("key = [\"email\"]", "key = [\"email\"]\nattempts = \"5\"", &["4:12: `attempts` must be a whole number, not text"]),
    // schedule
    (
        "0 2 * * 1-5",
        "0 2 * *",
        &["8:8: `0 2 * *` is not a schedule: it has 4 fields; five are needed, or six with seconds first ? `0 2 * * 1-5` is two o'clock from Monday to Friday"],
    ),
    (
        "0 2 * * 1-5",
        "0 25 * * 1-5",
        &[
            "8:8: `0 25 * * 1-5` is not a schedule: `25` is not right for the hour: it takes 0 to 23, `*`, a range `1-5`, a list `1,3` or a step `*/2` ? `0 2 * * 1-5` is two o'clock from Monday to Friday",
        ],
    ),
    (
        "0 2 * * 1-5",
        "0 2 30 2 *",
        &["8:8: `0 2 30 2 *` is not a schedule: it never comes: no such day is in the calendar ? `0 2 * * 1-5` is two o'clock from Monday to Friday"],
    ),
    (
        "0 2 * * 1-5",
        "0/15 2 * * 1-5",
        &[
            "8:8: `0/15 2 * * 1-5` is not a schedule: `0/15` is not right for the minute: it takes 0 to 59, `*`, a range `1-5`, a list `1,3` or a step `*/2` ? `0 2 * * 1-5` is two o'clock from Monday to Friday",
        ],
    ),
    ("timezone = \"Europe/London\"", "timezone = \"London\"", &["9:12: there is no time zone `London` ? did you mean `Europe/London`?"]),
    ("missed = \"run-once\"", "missed = \"once\"", &["10:10: `schedule.missed` cannot be `once`"]),
    // systems
    ("[systems.crm]\nkind = \"csv\"", "[systems.crm]\nkind = \"cvs\"", &["13:8: `systems.crm.kind` cannot be `cvs` ? did you mean `csv`?"]),
    ("[systems.crm]\nkind = \"csv\"", "[systems.crm]", &["12:1: `systems.crm` has no `kind`"]),
    (
        "[systems.crm]\nkind = \"csv\"\nrole = \"peer\"",
        "[systems.crm]\nkind = \"csv\"\nrole = \"peeer\"",
        &["14:8: `systems.crm.role` cannot be `peeer` ? did you mean `peer`?"],
    ),
    (
        "[systems.crm]\nkind = \"csv\"",
        "[systems.crm]\nkind = \"csv\"\ntable = \"x\"",
        &["14:1: `table` is a key of kind `sql`, and `systems.crm` is of kind `csv`"],
    ),
    ("delimiter = \";\"", "delimiter = \"tab\"", &[r#"22:13: `systems.sheet.delimiter` must be one plain character, not `tab` ? a tab is written `"\t"`"#]),
    ("delimiter = \";\"", "delimiter = \";\"\nquote = \";\"", &["23:9: `systems.sheet` has one character as both `delimiter` and `quote`"]),
    ("encoding = \"windows-1252\"", "encoding = \"win-1252\"", &["23:12: there is no encoding `win-1252` ? did you mean `windows-1252`?"]),
    (
        "delimiter = \";\"",
        "delimiter = \";\"\nheader = 0",
        &[
            "38:28: system `sheet` has no header, so it has no column `E-mail` ? its columns are called `1`, `2`, `3`, from the left",
            "44:27: system `sheet` has no header, so it has no column `Customer` ? its columns are called `1`, `2`, `3`, from the left",
            "55:13: system `sheet` has no header, so it has no column `Currency` ? its columns are called `1`, `2`, `3`, from the left",
            "60:13: system `sheet` has no header, so it has no column `Credit limit` ? its columns are called `1`, `2`, `3`, from the left",
        ],
    ),
    ("path = \"data/customers.csv\"\n", "", &["18:1: `systems.sheet` has no `path`"]),
    (
        "path = \"data/customers.csv\"",
        "path = \"./data//crm.csv\"",
        &["18:10: systems `crm` and `sheet` are the same place ? a place that is written can only be one system of a job"],
    ),
    (
        "path = \"data/customers.csv\"",
        "path = \"data/customers.csv\"\nready = { stable_s = 0 }",
        &[r#"22:22: `systems.sheet.ready.stable_s` must lie between 1 and 3600 seconds, not 0"#],
    ),
    (
        "path = \"data/customers.csv\"",
        "path = \"data/customers.csv\"\nready = { stable_s = 5, marker = \"data/x.done\" }",
        &[r#"22:34: `systems.sheet.ready` has both `stable_s` and `marker` ? keep one of the two; a marker is the safer one"#],
    ),
    (
        "path = \"data/customers.csv\"",
        "path = \"data/customers.csv\"\nready = {}",
        &[r#"22:9: `systems.sheet.ready` says nothing ? for example `ready = { stable_s = 60 }`, or `ready = { marker = "data/{name}.done" }`"#],
    ),
    (
        "path = \"data/customers.csv\"",
        "path = \"data/customers.csv\"\nready = { marker = \"data/*.done\" }",
        &[
            r#"22:20: `systems.sheet.ready.marker` must name one other file, not `data/*.done` ? `{name}` stands for the name of the file: `"data/{name}.done"`"#,
        ],
    ),
    (
        "path = \"data/customers.csv\"",
        "path = \"data/customers.csv\"\nready = { marker = \"data/customers.csv\" }",
        &[
            r#"22:20: `systems.sheet.ready.marker` must name one other file, not `data/customers.csv` ? `{name}` stands for the name of the file: `"data/{name}.done"`"#,
        ],
    ),
    (
        "path = \"data/customers.csv\"",
        "path = \"data/customers.csv\"\nready = { stable = 5 }",
        &[
            r#"22:9: `systems.sheet.ready` says nothing ? for example `ready = { stable_s = 60 }`, or `ready = { marker = "data/{name}.done" }`"#,
            r#"22:11: unknown key `stable` in `systems.sheet.ready` ? did you mean `stable_s`?"#,
        ],
    ),
    ("path = \"data/customers.csv\"", "path = \"data/customers.csv\"\nragged = \"fill\"", &[r#"22:10: `systems.sheet.ragged` cannot be `fill`"#]),
    ("path = \"data/customers.csv\"", "path = \"data/customers.csv\"\ntrailer = { starts = \"\" }", &[r#"22:22: `systems.sheet.trailer.starts` is empty"#]),
    ("path = \"data/customers.csv\"", "path = \"data/customers.csv\"\ntrailer = { count_column = 2 }", &[r#"22:11: `systems.sheet.trailer` has no `starts`"#]),
    (
        "path = \"data/customers.csv\"",
        "path = \"data/customers.csv\"\ntrailer = { starts = \"T\", count_column = 0 }",
        &[r#"22:42: `systems.sheet.trailer.count_column` is 0, and columns are counted from 1"#],
    ),
    (
        "path = \"data/customers.csv\"",
        "path = \"data/customers.csv\"\ntrailer = { starts = \"T\", count_column = 2, sums = { Limit = 2, Fee = 0 } }",
        &[
            r#"22:54: `systems.sheet.trailer.sums.Limit`: column 2 of the trailer says something else too ? each number of the trailer has a column of its own"#,
            r#"22:65: `systems.sheet.trailer.sums.Fee` is 0, and columns are counted from 1"#,
        ],
    ),
    (
        "path = \"data/customers.csv\"",
        "path = \"data/customers.csv\"\ntrailer = { starts = \"T\", decimal = \";\" }",
        &[r#"22:37: `;` is not a decimal mark ? write `"."` or `","`"#, r#"22:37: `systems.sheet.trailer.decimal` is for `sums`, and there are none"#],
    ),
    (
        "path = \"data/customers.csv\"",
        "path = \"data/customers-*.csv\"",
        &[
            r#"21:8: `systems.sheet.path` stands for several files, and nothing tells which is meant ? say how the date in their names is spelled: `newest = "%Y%m%d"`"#,
        ],
    ),
    (
        "path = \"data/customers.csv\"",
        "path = \"data/customers.csv\"\nnewest = \"%Y%m%d\"",
        &[
            r#"21:8: with `newest`, `systems.sheet.path` must have one `*`, in the name of the file ? for example `path = "data/invoices-*.csv"`"#,
            r#"22:10: system `sheet` is written, and `newest` is another file every time ? name one file in `path`, or make the system a source or a witness"#,
        ],
    ),
    (
        "path = \"data/customers.csv\"",
        "path = \"data/customers-*.csv\"\nnewest = \"%y%m%d\"",
        &[
            r#"22:10: `systems.sheet.newest` cannot tell the newest file: it has `%y` ? it has `%Y`, then perhaps `%m`, `%d`, `%H`, `%M` and `%S`, and the characters between them: `%Y-%m-%d`"#,
            r#"22:10: system `sheet` is written, and `newest` is another file every time ? name one file in `path`, or make the system a source or a witness"#,
        ],
    ),
    (
        "path = \"data/customers.csv\"",
        "path = \"data/customers-*.csv\"\nnewest = \"%Y%d\"",
        &[
            r#"22:10: `systems.sheet.newest` cannot tell the newest file: it has no `%m` ? it has `%Y`, then perhaps `%m`, `%d`, `%H`, `%M` and `%S`, and the characters between them: `%Y-%m-%d`"#,
            r#"22:10: system `sheet` is written, and `newest` is another file every time ? name one file in `path`, or make the system a source or a witness"#,
        ],
    ),
    ("path = \"data/customers.csv\"", "path = \"data/customers.csv\"\nbackups = 0", &[r#"22:11: `systems.sheet.backups` must lie between 1 and 100, not 0"#]),
    (
        "delimiter = \";\"",
        "delimiter = \";\"\nid = \"Nr\"",
        &[r#"23:6: nothing would fill `Nr` in new rows of system `sheet` ? set `may = { create = "never" }`, map the column as a field, or leave `id` out"#],
    ),
    ("only = { Status = [\"active\", \" new \"] }", "only = { Status = [] }", &["24:10: `systems.sheet.only` accepts no value of column `Status`"]),
    (
        "url = \"sqlite:data/invoicing.db\"",
        "url = \"postgres://app:hunter2@db/books\"",
        &["29:7: a secret stands in `systems.invoicing.url` ? put it into the environment, and write `${env:NAME}` in its place"],
    ),
    (
        "url = \"sqlite:data/invoicing.db\"",
        "url = \"postgres://app:${env:PW}@db\"",
        &["29:7: `systems.invoicing.url` names no database ? for example `postgres://app:${env:DB_PASSWORD}@db.example.com/books`"],
    ),
    (
        "url = \"sqlite:data/invoicing.db\"",
        "url = \"sqlite://data/invoicing.db\"",
        &["29:7: `systems.invoicing.url` has `//` before its path ? write `sqlite:data/invoicing.db`"],
    ),
    (
        "url = \"sqlite:data/invoicing.db\"",
        "url = \"sqlite:${env:DATA\"",
        &["29:7: a reference is not closed with `}`, in `systems.invoicing.url` ? write `${env:NAME}` or `${file:path}`"],
    ),
    (
        "url = \"sqlite:data/invoicing.db\"",
        "url = \"data/invoicing.db\"",
        &["29:7: `systems.invoicing.url` does not say which database it is ? for example `sqlite:data/books.db`"],
    ),
    (
        "table = \"customers\"",
        "query = \"select * from customers\"",
        &["30:9: system `invoicing` is written, and a query cannot be ? give the `table` that is written, or make the system a source or a witness"],
    ),
    ("table = \"customers\"\n", "", &["26:10: system `invoicing` has neither `table` nor `query` ? name the table that holds the records"]),
    ("contact = \"finance@example.com\"", "contact = \"${env:WHO}\"", &["5:11: a reference cannot stand in `contact`"]),
    ("edited_at = \"updated_at\"", "edited_at = \"${env:COLUMN}\"", &["32:13: a reference cannot stand in `systems.invoicing.edited_at`"]),
    (
        "%d.%m.%Y %H:%M",
        "%d.%m.%y %H:%M",
        &[
            "16:42: `%d.%m.%y %H:%M` cannot spell values of type `instant`: it reads `03.11.31 13:45`, which it writes for 1931-11-03T13:45:00, as 2031-11-03T13:45:00 ? for example `%Y-%m-%d %H:%M:%S`",
        ],
    ),
    (
        "%d.%m.%Y %H:%M",
        "DD.MM.YYYY",
        &["16:42: `DD.MM.YYYY` cannot spell values of type `instant`: `DD.MM.YYYY` cannot be read back with it ? for example `%Y-%m-%d %H:%M:%S`"],
    ),
    ("Europe/Berlin", "Europe/Belrin", &["16:71: there is no time zone `Europe/Belrin` ? did you mean `Europe/Berlin`?"]),
    ("may = { create = \"apply\"", "may = { create = \"always\"", &["33:18: `systems.invoicing.may.create` cannot be `always`"]),
    (
        "[systems.invoicing]",
        "[systems.Invoicing]",
        &[
            "26:10: `Invoicing` cannot be the name of a system",
            r#"37:11: key field `email` has no column in system `Invoicing` ? add `Invoicing = ".."` to its `columns`"#,
            "37:46: field `email` has a column in system `invoicing`, which the job does not have ? did you mean `Invoicing`?",
            "43:47: field `name` has a column in system `invoicing`, which the job does not have ? did you mean `Invoicing`?",
            "45:30: `priority` names system `invoicing`, which the job does not have ? did you mean `Invoicing`?",
            "49:28: field `phone` has a column in system `invoicing`, which the job does not have ? did you mean `Invoicing`?",
            "54:33: field `currency` has a column in system `invoicing`, which the job does not have ? did you mean `Invoicing`?",
            "55:9: `owner` names system `invoicing`, which the job does not have ? did you mean `Invoicing`?",
            "59:63: field `credit_limit` has a column in system `invoicing`, which the job does not have ? did you mean `Invoicing`?",
            "60:9: `owner` names system `invoicing`, which the job does not have ? did you mean `Invoicing`?",
        ],
    ),
    // fields
    ("[fields.phone]\ntype = \"text\"", "[fields.phone]\ntype = \"txt\"", &["48:8: `fields.phone.type` cannot be `txt` ? did you mean `text`?"]),
    ("type = \"decimal(2)\"", "type = \"decimal(10)\"", &["58:8: `fields.credit_limit.type` has 10 decimals, at most 9 are possible"]),
    (
        "type = \"decimal(2)\"",
        "type = \"decimal\"",
        &["58:8: `fields.credit_limit.type` does not say how many decimals: `decimal` ? write `decimal(2)` for amounts in cents"],
    ),
    (
        "type = \"decimal(2)\"",
        "type = \"text\"",
        &[
            "59:56: `decimal` says nothing about a field of type `text`",
            "61:13: field `credit_limit` is `text`, which has no tolerance",
            "79:1: field `credit_limit` is `text` and cannot be summed",
        ],
    ),
    ("[fields.phone]\ntype = \"text\"\n", "[fields.phone]\n", &["47:1: `fields.phone` has no `type`"]),
    (
        "columns = { crm = \"phone\", invoicing = \"phone\" }",
        "columns = { crn = \"phone\", invoicing = \"phone\" }",
        &["49:13: field `phone` has a column in system `crn`, which the job does not have ? did you mean `crm`?"],
    ),
    (
        "columns = { crm = \"phone\", invoicing = \"phone\" }",
        "columns = {}",
        &[r#"49:11: field `phone` has no column in any system ? for example `columns = { crm = "phone", sheet = "phone", invoicing = "phone" }`"#],
    ),
    (
        "columns = { crm = \"phone\", invoicing = \"phone\" }",
        "columns = { crm = \"\", invoicing = \"phone\" }",
        &["49:19: a column of field `phone` has no name"],
    ),
    (
        "columns = { crm = \"phone\", invoicing = \"phone\" }",
        "columns = { crm = 7, invoicing = \"phone\" }",
        &[r#"49:19: `fields.phone.columns.crm` must be text or a table, not a whole number ? put it in quotes: `"7"`"#],
    ),
    (
        "columns = { crm = \"phone\", invoicing = \"phone\" }",
        "columns = { crm = \"phone\", invoicing = \"NAME\" }",
        &["49:28: fields `name` and `phone` are both column `NAME` of system `invoicing`"],
    ),
    (
        "columns = { crm = \"phone\", invoicing = \"phone\" }",
        "columns = { crm = \"phone\", sheet = \"Phone\", invoicing = \"phone\" }",
        &[
            "50:9: `latest` cannot decide field `phone`: `sheet` has no `edited_at` ? give it an `edited_at` column, or take another rule, such as `{ priority = [..] }`",
        ],
    ),
    (
        "columns = { crm = \"email\", sheet = \"E-mail\", invoicing = \"email\" }",
        "columns = { crm = \"email\", invoicing = \"email\" }",
        &[r#"37:11: key field `email` has no column in system `sheet` ? add `sheet = ".."` to its `columns`"#],
    ),
    ("decimal = \",\"", "decimal = \"comma\"", &[r#"59:56: `comma` is not a decimal mark ? write `"."` or `","`"#]),
    ("decimal = \",\"", "decimals = \",\"", &["59:46: unknown key `decimals` in `fields.credit_limit.columns.sheet` ? did you mean `decimal`?"]),
    ("decimal = \",\"", "booleans = [\"yes\", \"no\"]", &["59:57: `booleans` says nothing about a field of type `decimal(2)`"]),
    (
        "decimal = \",\"",
        "blank_as = \"keins\"",
        &["59:57: `keins` is written for empty, and would not be read as empty ? add it to `null_tokens` of field `credit_limit`"],
    ),
    ("clean = [\"email\"]", "clean = [\"e-mail\"]", &["38:10: `fields.email.clean` cannot be `e-mail` ? did you mean `email`?"]),
    (
        "[fields.phone]",
        "[fields.\"Téléphone\"]",
        &["47:9: `Téléphone` cannot be the name of a field ? the column of a system may be called anything: that is what `columns` is for"],
    ),
    ("[fields.phone]", "[fields.Name]", &["47:9: fields `name` and `Name` differ only in capitals"]),
    // who decides
    (
        "columns = { crm = \"phone\", invoicing = \"phone\" }\nmerge = \"latest\"",
        "columns = { crm = \"phone\", invoicing = \"phone\" }",
        &[
            r#"47:9: field `phone` has neither `owner` nor `merge` ? name the system that is right, `owner = "crm"`, or what decides a conflict, `merge = "latest"`"#,
        ],
    ),
    ("owner = \"crm\"", "owner = \"cmr\"", &["39:9: `owner` names system `cmr`, which the job does not have ? did you mean `crm`?"]),
    ("owner = \"crm\"", "owner = []", &["39:9: `owner` of field `email` names no system"]),
    ("owner = \"crm\"", "owner = [\"crm\", \"crm\"]", &["39:17: `owner` of field `email` names system `crm` twice"]),
    (
        "columns = { sheet = \"Currency\", invoicing = \"currency\" }\nowner = \"invoicing\"",
        "columns = { sheet = \"Currency\", invoicing = \"currency\" }\nowner = \"crm\"",
        &[r#"55:9: owner `crm` does not carry field `currency` ? add `crm = ".."` to its `columns`, or name another owner"#],
    ),
    (
        "[systems.crm]\nkind = \"csv\"\nrole = \"peer\"",
        "[systems.crm]\nkind = \"csv\"\nrole = \"target\"",
        &[
            "39:9: owner `crm` of field `email` is a target, which never decides ? make it a peer or a source, or name another owner",
            "45:23: `priority` names system `crm`, a target, which never decides",
        ],
    ),
    (
        "[systems.sheet]\nkind = \"csv\"\nrole = \"peer\"",
        "[systems.sheet]\nkind = \"csv\"\nrole = \"source\"",
        &[
            r#"39:9: field `email` is carried by source `sheet`, and owned by another system ? write `owner = ["sheet", "crm"]`, or make `sheet` a peer"#,
            r#"55:9: field `currency` is carried by source `sheet`, and owned by another system ? write `owner = ["sheet", "invoicing"]`, or make `sheet` a peer"#,
            r#"60:9: field `credit_limit` is carried by source `sheet`, and owned by another system ? write `owner = ["sheet", "invoicing"]`, or make `sheet` a peer"#,
        ],
    ),
    (
        "merge = { priority = [\"crm\", \"invoicing\", \"sheet\"] }",
        "merge = { priority = [\"crm\", \"bank\"] }",
        &["45:30: `priority` names system `bank`, which the job does not have"],
    ),
    ("merge = { priority = [\"crm\", \"invoicing\", \"sheet\"] }", "merge = { priority = [] }", &["45:9: `priority` of field `name` names no system"]),
    (
        "merge = { priority = [\"crm\", \"invoicing\", \"sheet\"] }",
        "merge = \"priority\"",
        &[r#"45:9: `fields.name.merge` needs the systems of `priority` ? name them: `{ priority = ["first", "second"] }`"#],
    ),
    (
        "merge = { priority = [\"crm\", \"invoicing\", \"sheet\"] }",
        "merge = \"lastest\"",
        &["45:9: `fields.name.merge` cannot be `lastest` ? did you mean `latest`?"],
    ),
    (
        "merge = { priority = [\"crm\", \"invoicing\", \"sheet\"] }",
        "merge = {}",
        &[r#"45:9: `fields.name.merge` has no rule ? for example `{ priority = ["first", "second"] }`"#],
    ),
    (
        "merge = { priority = [\"crm\", \"invoicing\", \"sheet\"] }",
        "then = \"longest\"",
        &[
            r#"41:9: field `name` has neither `owner` nor `merge` ? name the system that is right, `owner = "crm"`, or what decides a conflict, `merge = { priority = ["crm", "sheet", "invoicing"] }`"#,
            "45:8: field `name` has a `then` and no `merge` ? call it `merge`",
        ],
    ),
    ("merge = { priority = [\"crm\", \"invoicing\", \"sheet\"] }", "merge = \"max\"", &["45:9: `max` cannot decide field `name`, which is `text`"]),
    (
        "merge = { priority = [\"crm\", \"invoicing\", \"sheet\"] }",
        "merge = \"sum-of-changes\"",
        &["45:9: `sum-of-changes` cannot decide field `name`, which is `text`"],
    ),
    ("merge = { priority = [\"crm\", \"invoicing\", \"sheet\"] }", "merge = \"union\"", &["45:9: `union` cannot decide field `name`, which is `text`"]),
    (
        "merge = { priority = [\"crm\", \"invoicing\", \"sheet\"] }",
        "merge = \"longest\"\nthen = \"longest\"",
        &["46:8: `then` of field `name` is the same rule as `merge`"],
    ),
    (
        "merge = { priority = [\"crm\", \"invoicing\", \"sheet\"] }",
        "merge = \"latest\"",
        &[
            "45:9: `latest` cannot decide field `name`: `sheet` has no `edited_at` ? give it an `edited_at` column, or take another rule, such as `{ priority = [..] }`",
        ],
    ),
    ("tolerance = \"0.01\"", "tolerance = 0.01", &[r#"61:13: `fields.credit_limit.tolerance` must be text, not a number ? put it in quotes: `"0.01"`"#]),
    (
        "tolerance = \"0.01\"",
        "tolerance = \"-1\"",
        &[r#"61:13: `-1` is not a tolerance of field `credit_limit`, which is `decimal(2)` ? write `"0.01"` or `"1%"`"#],
    ),
    (
        "tolerance = \"0.01\"",
        "tolerance = \"2d\"",
        &[r#"61:13: `2d` is not a tolerance of field `credit_limit`, which is `decimal(2)` ? write `"0.01"` or `"1%"`"#],
    ),
    (
        "tolerance = \"0.01\"",
        "tolerance = \"0.01\"\nmerge = \"sum-of-changes\"",
        &["61:13: field `credit_limit` cannot have both a `tolerance` and `sum-of-changes`"],
    ),
    ("tolerance = \"0.01\"", "merge = \"longest\"", &["61:9: `longest` cannot decide field `credit_limit`, which is `decimal(2)`"]),
    ("tolerance = \"0.01\"", "merge = { most-restrictive = [\"1\"] }", &["61:9: `most-restrictive` cannot decide field `credit_limit`, which is `decimal(2)`"]),
    ("merge = \"latest\"", "merge = \"latest\"\ntolerance = \"1\"", &["51:13: field `phone` is `text`, which has no tolerance"]),
    ("owner = \"crm\"", "owner = \"crm\"\ntolerance = \"1\"", &["40:13: field `email` identifies records and cannot have a `tolerance`"]),
    // what values are held against
    ("tolerance = \"0.01\"", "currency = \"EURO\"", &["61:12: there is no currency `EURO` ? write its code, such as `EUR`, or `{ field = \"..\" }`"]),
    (
        "tolerance = \"0.01\"",
        "currency = { field = \"curency\" }",
        &["61:22: `currency` names field `curency`, which the job does not have ? did you mean `currency`?"],
    ),
    (
        "tolerance = \"0.01\"",
        "counts = \"pieces\"\ncurrency = \"EUR\"",
        &["61:10: field `credit_limit` cannot both be money and count `pieces` ? leave out `counts`, or `currency`"],
    ),
    (
        "tolerance = \"0.01\"",
        "counts = \" \"",
        &["61:10: `counts` of field `credit_limit` is no word for what is counted ? for example `pieces`, `days` or `kg`"],
    ),
    ("merge = \"latest\"", "merge = \"latest\"\ncounts = \"pieces\"", &["51:10: `counts` says nothing about field `phone` of type `text`"]),
    ("merge = \"latest\"", "merge = \"latest\"\nimportant = \"yes\"", &["51:13: `fields.phone.important` must be true or false, not text"]),
    ("tolerance = \"0.01\"", "region = \"GB\"", &["61:10: `region` says nothing about field `credit_limit`"]),
    ("tolerance = \"0.01\"", "clean = [\"upper\"]", &["61:9: `clean` says nothing about field `credit_limit`, which is `decimal(2)`"]),
    ("merge = \"latest\"", "merge = \"latest\"\ncurrency = \"EUR\"", &["51:12: `currency` says nothing about field `phone`"]),
    (
        "merge = \"latest\"",
        "merge = \"latest\"\nmust_be_valid = true",
        &[
            "51:17: field `phone` is no identifier that could be valid or not ? name what it is in `clean`: `email`, `phone`, `country`, `currency`, `iban` or `vat-id`",
        ],
    ),
    ("merge = \"latest\"", "merge = \"latest\"\nplaceholders = [\"0\"]", &["51:16: `placeholders` says nothing about field `phone`, which is not in the key"]),
    ("merge = \"latest\"", "merge = \"latest\"\nclean = [\"phone\", \"iban\"]", &["51:19: field `phone` cannot be two identifiers at once"]),
    (
        "{ name = \"Credit limit\", decimal = \",\" }",
        "{ name = \"Credit limit\", minor_units = true }",
        &[r#"59:60: `minor_units` needs the currency of field `credit_limit` ? write `currency = "EUR"`, or `currency = { field = ".." }`"#],
    ),
    (
        "{ name = \"Credit limit\", decimal = \",\" }",
        "{ name = \"Credit limit\", century_pivot = 50 }",
        &[
            r#"59:62: `century_pivot` needs a format with a two-digit year ? for example `dates = "%d.%m.%y"`"#,
            "59:62: `century_pivot` says nothing about a field of type `decimal(2)`",
        ],
    ),
    (
        "{ name = \"Credit limit\", decimal = \",\" }",
        "{ name = \"Credit limit\", dst = \"later\" }",
        &["59:52: `dst` says nothing about a field of type `decimal(2)`"],
    ),
    // the rest
    ("keep = \"refuse\"", "keep = \"newest\"", &["64:8: `dedupe.keep` cannot be `newest`"]),
    (
        "policy = \"report\"",
        "policy = \"archive\"",
        &[r#"67:10: the policy `archive` needs the field that is set ? add `archive = { field = "status", value = "inactive" }`"#],
    ),
    (
        "policy = \"report\"",
        "archive = { field = \"name\", value = \"x\" }",
        &[r#"67:11: `archive` is set, and the policy is another ? set `policy = "archive"`, or remove `archive`"#],
    ),
    (
        "policy = \"report\"",
        "policy = \"archive\"\narchive = { field = \"status\", value = \"x\" }",
        &["68:21: `deletes.archive` names field `status`, which the job does not have"],
    ),
    (
        "policy = \"report\"",
        "policy = \"archive\"\narchive = { field = \"credit_limit\", value = \"none\" }",
        &["68:45: `none` in `deletes.archive` is not a value of type `decimal(2)`"],
    ),
    ("deletes = \"2%\"", "deletes = \"2 per cent\"", &[r#"70:11: `gates.deletes` is not a limit ? write `"2%"` for per cent, `50` for a count, or `"off"`"#]),
    ("deletes = \"2%\"", "deletes = \"3x\"", &[r#"70:11: `gates.deletes` is not a limit ? write `"2%"` for per cent, `50` for a count, or `"off"`"#]),
    ("deletes = \"2%\"", "deletes = 2.5", &[r#"70:11: `gates.deletes` is not a limit ? write `"2%"` for per cent, `50` for a count, or `"off"`"#]),
    ("deletes = \"2%\"", "all_changed = \"off\"", &["70:1: unknown key `all_changed` in `gates` ? did you mean `all-changed`?"]),
    ("empty = \"off\"", "empty = false", &["76:9: `gates.sheet.empty` cannot be `false`"]),
    ("[gates.sheet]", "[gates.sheets]", &["74:8: `gates` names system `sheets`, which the job does not have ? did you mean `sheet`?"]),
    (
        "credit_limit = { by = \"currency\" }",
        "credit_limt = { by = \"currency\" }",
        &["79:1: `totals` names field `credit_limt`, which the job does not have ? did you mean `credit_limit`?"],
    ),
    (
        "credit_limit = { by = \"currency\" }",
        "credit_limit = { by = \"curency\" }",
        &["79:23: `by` names field `curency`, which the job does not have ? did you mean `currency`?"],
    ),
    ("credit_limit = { by = \"currency\" }", "phone = {}", &["79:1: field `phone` is `text` and cannot be summed"]),
    ("when = \"always\"", "when = \"sometimes\"", &["83:8: `report.when` cannot be `sometimes`"]),
    (
        "to = [\"finance@example.com\"]",
        "to = [\"finance@example.com\\r\\nBcc: all@example.com\"]",
        &[
            r#"82:7: `report.to` is not a mail address: `finance@example.com\r\nBcc: all@example.com` ? write it as `finance@example.com`, or `Finance <finance@example.com>`"#,
        ],
    ),
];

#[test]
fn every_slip_is_told_at_its_place() {
    for (from, to, expected) in SLIPS {
        let told = check_one(&with(CUSTOMERS, from, to)).err().unwrap_or_default();
        let expected: Vec<String> = expected.iter().map(|mistake| format!("jobs/customers.toml:{mistake}")).collect();
        assert_eq!(told, expected, "{from:?} became {to:?}");
    }
}

#[test]
fn customers_are_ready() {
    let job = check_one(CUSTOMERS).expect("the file is right");
    assert_eq!((job.name.as_str(), job.mode, job.attempts_max), ("customers", Mode::Sync, 5));
    assert_eq!(job.contact.as_deref(), Some("finance@example.com"));
    assert_eq!(job.schedule, Some(Schedule { cron: "0 2 * * 1-5".into(), timezone: "Europe/London".into(), run_missed_once: true }));
    assert_eq!(job.key, [0]);
    assert_eq!(job.source.path, "jobs/customers.toml");
    assert_eq!(job.source.digest.len(), 64);

    let [crm, sheet, invoicing] = job.systems.as_slice() else { panic!("three systems") };
    assert_eq!([&crm.name, &sheet.name, &invoicing.name], ["crm", "sheet", "invoicing"]);
    assert_eq!(crm.kind, Kind::Csv(CsvSettings { path: "data/crm.csv".into(), header: 1, ..CsvSettings::default() }));
    assert_eq!(crm.edited_at, Some(EditedAt { column: "Updated".into(), format: Some("%d.%m.%Y %H:%M".into()), timezone: Some("Europe/Berlin".into()) }));
    assert_eq!(
        sheet.kind,
        Kind::Csv(CsvSettings {
            path: "data/customers.csv".into(),
            delimiter: Some(';'),
            quote: None,
            encoding: Some("windows-1252".into()),
            header: 1,
            ..CsvSettings::default()
        })
    );
    assert_eq!(sheet.only, [("Status".to_owned(), vec!["active".to_owned(), "new".to_owned()])]);
    assert_eq!((crm.may, sheet.id.as_deref()), (May::default(), None));
    assert_eq!(invoicing.kind, Kind::Sql(SqlSettings { url: "sqlite:data/invoicing.db".into(), table: Some("customers".into()), query: None }));
    assert_eq!(invoicing.id.as_deref(), Some("customer_id"));
    assert_eq!(invoicing.may, May { create: Permission::Apply, update: Permission::Review, delete: Permission::Never });

    let all = Gates { updates: Limit::Count(500), growth: Limit::Times(Decimal { units: 25, scale: 1 }), ..Gates::default() };
    assert_eq!(crm.gates, all);
    assert_eq!(sheet.gates, Gates { shrink: Limit::Off, empty: false, ..all });

    let [email, name, phone, currency, credit_limit] = job.fields.as_slice() else { panic!("five fields") };
    assert_eq!(
        (email.clean.as_slice(), email.owner.as_slice(), email.merge.as_slice()),
        (&[CleanRule::Email, CleanRule::Lower][..], &[0][..], &[MergeRule::Review][..])
    );
    assert_eq!(name.merge, [MergeRule::Priority(vec![0, 2, 1]), MergeRule::Review]);
    assert_eq!((phone.merge.as_slice(), phone.columns[1].as_ref()), (&[MergeRule::Latest, MergeRule::Review][..], None));
    assert_eq!(currency.owner, [2]);
    assert_eq!(credit_limit.field_type, FieldType::Decimal(2));
    assert_eq!(credit_limit.columns[1], Some(ColumnSpec { name: "Credit limit".into(), decimal: Some(','), refuses_formulas: true, ..ColumnSpec::default() }));
    assert_eq!(credit_limit.tolerance, Some(Tolerance::Absolute(Decimal { units: 1, scale: 2 })));
    assert!(email.null_tokens.contains(&"n/a".to_owned()) && !email.null_tokens.contains(&"na".to_owned()));
    assert_eq!((email.on_drift, email.first_contact, email.blank), (OnDrift::Overwrite, FirstContact::Decide, None));

    assert_eq!((job.dedupe, job.deletes.clone()), (Dedupe::Refuse, Deletes::Report));
    assert_eq!(job.totals, [Total { field: 4, by: Some(3) }]);
    assert_eq!(job.report, ReportSpec { to: vec!["finance@example.com".into()], to_action: Vec::new(), to_failed: Vec::new(), when: ReportWhen::Always });
}

/// Two systems and one field beside the key, with what the test is about put in.
fn two(roles: [&str; 2], field: &str, top: &str) -> Result<Job, Vec<String>> {
    let [a, b] = roles;
    check_one(&format!(
        "name = \"customers\"\nkey = [\"nr\"]\n{top}\n[systems.a]\nkind = \"memory\"\n{a}\n[systems.b]\nkind = \"memory\"\n{b}\n\
         [fields.nr]\ntype = \"text\"\ncolumns = {{ a = \"nr\", b = \"nr\" }}\nowner = \"a\"\n\
         [fields.x]\ncolumns = {{ a = \"x\", b = \"x\" }}\n{field}\n"
    ))
}

#[test]
fn a_source_owns_what_it_carries() {
    let job = two(["role = \"source\"", "role = \"target\""], "type = \"text\"", "").expect("the owner is implied");
    assert_eq!(job.fields[1].owner, [0]);
    assert_eq!(job.systems[0].may, May { create: Permission::Never, update: Permission::Never, delete: Permission::Never });

    let job =
        two(["role = \"source\"", "role = \"peer\""], "type = \"text\"\nmerge = \"longest\"\nowner = [\"a\", \"b\"]", "").expect("a list that starts with it");
    assert_eq!(job.fields[1].owner, [0, 1]);

    let told = two(["role = \"source\"", "role = \"peer\""], "type = \"text\"\nowner = [\"b\", \"a\"]", "").expect_err("the peer comes first");
    assert_eq!(
        told,
        ["jobs/customers.toml:17:9: field `x` is carried by source `a`, and owned by another system ? write `owner = [\"a\", \"b\"]`, or make `a` a peer"]
    );
}

#[test]
fn several_sources_need_an_order() {
    let sheet = "[systems.c]\nkind = \"memory\"\nrole = \"peer\"\n";
    let text = |owner: &str| {
        format!(
            "name = \"customers\"\nkey = [\"nr\"]\n[systems.a]\nkind = \"memory\"\nrole = \"source\"\n[systems.b]\nkind = \"memory\"\nrole = \"source\"\n{sheet}\
             [fields.nr]\ntype = \"text\"\ncolumns = {{ a = \"nr\", b = \"nr\", c = \"nr\" }}\n{owner}\n"
        )
    };
    assert_eq!(
        check_one(&text("")).expect_err("no order"),
        ["jobs/customers.toml:12:9: field `nr` has several sources and no `owner` ? say which comes first: `owner = [\"a\", \"b\"]`"]
    );
    assert_eq!(check_one(&text("owner = [\"b\", \"a\"]")).expect("an order").fields[0].owner, [1, 0]);
    assert_eq!(
        check_one(&text("owner = \"a\"")).expect_err("one is left out"),
        ["jobs/customers.toml:15:9: field `nr` is carried by source `b`, and owned by another system ? write `owner = [\"a\", \"b\"]`, or make `b` a peer"]
    );
}

#[test]
fn a_field_needs_a_decision_only_where_two_could_decide() {
    let text = "type = \"text\"";
    assert!(two(["role = \"peer\"", "role = \"target\""], text, "").is_ok(), "one peer decides");
    assert!(two(["role = \"peer\"", "role = \"witness\""], text, "").is_ok(), "a witness never decides");
    let never = "role = \"peer\"\nmay = { create = \"never\", update = \"never\" }";
    assert!(two([never, never], text, "").is_ok(), "nobody is written");
    assert!(two(["role = \"peer\"", "role = \"peer\""], text, "mode = \"audit\"").is_ok(), "an audit writes nothing");
    assert_eq!(
        two(["role = \"peer\"", never], text, "").expect_err("the first one is written"),
        [
            "jobs/customers.toml:15:9: field `x` has neither `owner` nor `merge` ? name the system that is right, `owner = \"a\"`, or what decides a conflict, `merge = { priority = [\"a\", \"b\"] }`"
        ]
    );
    let alone = "name = \"customers\"\nkey = [\"nr\"]\n[systems.a]\nkind = \"memory\"\nrole = \"peer\"\n[systems.b]\nkind = \"memory\"\nrole = \"target\"\n\
         [fields.nr]\ntype = \"text\"\ncolumns = { a = \"nr\", b = \"nr\" }\n[fields.note]\ntype = \"text\"\ncolumns = { b = \"note\" }\n";
    assert!(check_one(alone).is_ok(), "one system carries the note");
    let nobody = with(alone, "columns = { b = \"note\" }", "columns = { b = \"note\", c = \"note\" }")
        .replace("[fields.nr]", "[systems.c]\nkind = \"memory\"\nrole = \"witness\"\n[fields.nr]");
    let nobody = with(&nobody, "b = \"nr\" }", "b = \"nr\", c = \"nr\" }");
    assert_eq!(
        check_one(&nobody).expect_err("a target and a witness"),
        ["jobs/customers.toml:15:9: no system decides field `note` ? make one of them a source or a peer"]
    );
}

#[test]
fn rules_fall_back_and_end_with_a_person() {
    let peers = ["role = \"peer\"", "role = \"peer\""];
    for (field, expected) in [
        ("type = \"decimal(2)\"\nmerge = \"max\"", vec![MergeRule::Max, MergeRule::Review]),
        ("type = \"date\"\nmerge = \"min\"\nthen = { priority = [\"b\"] }", vec![MergeRule::Min, MergeRule::Priority(vec![1]), MergeRule::Review]),
        ("type = \"text\"\nmerge = \"review\"", vec![MergeRule::Review]),
        ("type = \"text\"\nmerge = \"review\"\nthen = \"longest\"", vec![MergeRule::Review]),
        ("type = \"list\"\nmerge = \"union\"", vec![MergeRule::Union, MergeRule::Review]),
        (
            "type = \"boolean\"\nmerge = { most-restrictive = [false, true] }",
            vec![MergeRule::MostRestrictive(vec![Value::Boolean(false), Value::Boolean(true)]), MergeRule::Review],
        ),
    ] {
        assert_eq!(two(peers, field, "").expect(field).fields[1].merge, expected, "{field}");
    }
}

#[test]
fn tolerances_have_the_unit_of_their_field() {
    let peers = ["role = \"peer\"", "role = \"target\""];
    const DAY: i64 = 86_400_000_000;
    for (field_type, written, expected) in [
        ("decimal(2)", "1%", Some(Tolerance::Percent(Decimal { units: 1, scale: 0 }))),
        ("integer", "5", Some(Tolerance::Absolute(Decimal { units: 5, scale: 0 }))),
        ("date", "2d", Some(Tolerance::Span(2 * DAY))),
        ("date", "3h", None),
        ("instant", "90s", Some(Tolerance::Span(90_000_000))),
        ("datetime", "1e3s", None),
        ("instant", "99999999999999d", None),
        ("decimal(2)", "1,5", None),
        ("boolean", "1", None),
    ] {
        let told = two(peers, &format!("type = \"{field_type}\"\ntolerance = \"{written}\""), "");
        assert_eq!(told.ok().and_then(|job| job.fields[1].tolerance), expected, "{written} for {field_type}");
    }
}

#[test]
fn nothing_is_written_where_nothing_may_be() {
    let never = May { create: Permission::Never, update: Permission::Never, delete: Permission::Never };
    let audit = check_one(&with(CUSTOMERS, "mode = \"sync\"", "mode = \"audit\"")).expect("an audit");
    assert!(audit.systems.iter().all(|system| system.may == never));
    assert!(audit.fields.iter().all(|field| field.on_drift == OnDrift::Report));

    let query = with(CUSTOMERS, "table = \"customers\"", "query = \"select * from customers\"");
    let query = with(&query, "url = \"sqlite:data/invoicing.db\"", "url = \"sqlite:${env:DATA}/invoicing.db\"");
    let query = with(&query, "kind = \"sql\"\nrole = \"peer\"", "kind = \"sql\"\nrole = \"witness\"");
    let told = check_one(&query).expect_err("a witness owns and is written");
    assert_eq!(
        told,
        [
            "jobs/customers.toml:33:18: `create` of system `invoicing` can only be `never`: a witness is never written ? leave `may` out, or make the system a peer or a target",
            "jobs/customers.toml:33:36: `update` of system `invoicing` can only be `never`: a witness is never written ? leave `may` out, or make the system a peer or a target",
            "jobs/customers.toml:45:30: `priority` names system `invoicing`, a witness, which never decides",
            "jobs/customers.toml:55:9: owner `invoicing` of field `currency` is a witness, which never decides ? make it a peer or a source, or name another owner",
            "jobs/customers.toml:60:9: owner `invoicing` of field `credit_limit` is a witness, which never decides ? make it a peer or a source, or name another owner",
        ]
    );
}

#[test]
fn one_system_is_too_few() {
    let told = check_one(
        "name = \"customers\"\nkey = [\"nr\"]\n[systems.a]\nkind = \"memory\"\nrole = \"peer\"\n[fields.nr]\ntype = \"text\"\ncolumns = { a = \"nr\" }\n",
    );
    assert_eq!(told.expect_err("one system"), ["jobs/customers.toml:3:10: a job needs at least two systems"]);
    assert_eq!(
        check_one("").expect_err("an empty file"),
        [
            "jobs/customers.toml:1:1: the file has no `name`",
            "jobs/customers.toml:1:1: the file has no `key`",
            "jobs/customers.toml:1:1: the file has no `systems`",
            "jobs/customers.toml:1:1: the file has no `fields`"
        ]
    );
}

#[test]
fn systems_and_fields_keep_the_order_of_the_file() {
    let text = "name = \"customers\"\nkey = [\"z\"]\n[systems.zulu]\nkind = \"memory\"\nrole = \"source\"\n[fields.z]\ntype = \"text\"\ncolumns = { mike = \"z\", alpha = \"z\", zulu = \"z\" }\n\
        [systems.mike.only]\nState = \"open\"\n[systems.alpha]\nkind = \"memory\"\nrole = \"peer\"\n[fields.a]\ntype = \"text\"\ncolumns = { zulu = \"a\" }\n\
        [systems.mike]\nkind = \"memory\"\nrole = \"target\"\n";
    let job = check_one(text).expect("right");
    assert_eq!(job.systems.iter().map(|system| system.name.as_str()).collect::<Vec<_>>(), ["zulu", "alpha", "mike"]);
    assert_eq!(job.fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>(), ["z", "a"]);
    assert_eq!(job.systems[2].only, [("State".to_owned(), vec!["open".to_owned()])]);
}

#[test]
fn columns_are_counted_in_characters_and_a_byte_order_mark_is_none() {
    let text = format!("\u{feff}{}", with(CUSTOMERS, "key = [\"email\"]", "key = [\"Größe\", \"emial\"]")).replace('\n', "\r\n");
    assert_eq!(
        check_one(&text).expect_err("two unknown fields"),
        [
            "jobs/customers.toml:3:8: `key` names field `Größe`, which the job does not have",
            "jobs/customers.toml:3:17: `key` names field `emial`, which the job does not have ? did you mean `email`?"
        ]
    );
}

#[test]
fn all_mistakes_of_all_files_are_told_in_order() {
    let broken = with(CUSTOMERS, "keep = \"refuse\"", "keep = \"newest\"");
    let broken = with(&broken, "mode = \"sync\"", "mod = \"sync\"");
    let files = [
        file("jobs/zeta.toml", &with(&broken, "name = \"customers\"", "name = \"zeta\"")),
        file("jobs/alpha.toml", "name = \"alpha\"\nkey = [\n"),
        file("jobs/customers.toml", &with(CUSTOMERS, "[gates.sheet]", "[gates.sheets]")),
    ];
    assert_eq!(
        check_all(&files).expect_err("three wrong files"),
        [
            "jobs/zeta.toml:4:1: unknown key `mod` ? did you mean `mode`?",
            "jobs/zeta.toml:64:8: `dedupe.keep` cannot be `newest`",
            "jobs/alpha.toml:2:8: this is not TOML: unclosed array, expected `]` ? is a comma, a `]` or a `}` missing?",
            "jobs/customers.toml:74:8: `gates` names system `sheets`, which the job does not have ? did you mean `sheet`?",
        ]
    );
}

/// A job that reads one file and writes another.
fn copies(name: &str, from: &str, to: &str, column: &str) -> JobFile {
    file(
        &format!("jobs/{name}.toml"),
        &format!(
            "name = \"{name}\"\nkey = [\"nr\"]\n[systems.from]\nkind = \"csv\"\nrole = \"source\"\npath = \"{from}\"\n\
             [systems.to]\nkind = \"csv\"\nrole = \"target\"\npath = \"{to}\"\n\
             [fields.nr]\ntype = \"text\"\ncolumns = {{ from = \"nr\", to = \"{column}_nr\" }}\n\
             [fields.x]\ntype = \"text\"\ncolumns = {{ from = \"x\", to = \"{column}\" }}\n"
        ),
    )
}

#[test]
fn two_jobs_never_write_one_column() {
    assert!(check_all(&[copies("one", "a.csv", "c.csv", "x"), copies("two", "b.csv", "c.csv", "y")]).is_ok(), "other columns");
    assert!(check_all(&[copies("one", "a.csv", "c.csv", "x"), copies("two", "b.csv", "d.csv", "x")]).is_ok(), "other files");
    assert_eq!(
        check_all(&[copies("one", "a.csv", "c.csv", "x"), copies("two", "b.csv", "./data/../c.csv", "x")]).expect_err("one column"),
        [
            "jobs/two.toml:13:26: column `x_nr` of system `to` is written by two jobs, `one` and `two` ? let one job write it: in the other, `to` can be a source or a witness",
            "jobs/two.toml:16:25: column `x` of system `to` is written by two jobs, `one` and `two` ? let one job write it: in the other, `to` can be a source or a witness",
        ]
    );
    let twice = [copies("one", "a.csv", "c.csv", "x"), JobFile { path: "old/one.toml".into(), ..copies("one", "d.csv", "e.csv", "x") }];
    assert_eq!(
        check_all(&twice).expect_err("one name"),
        ["old/one.toml:1:8: two job files are called `one` ? their state and their reports would mix: rename one of them"]
    );
}

#[test]
fn jobs_form_no_circle() {
    assert!(check_all(&[copies("one", "a.csv", "b.csv", "x"), copies("two", "b.csv", "c.csv", "x")]).is_ok(), "a chain");
    assert_eq!(
        check_all(&[copies("one", "a.csv", "b.csv", "x"), copies("two", "b.csv", "a.csv", "x")]).expect_err("there and back"),
        ["jobs/two.toml:3:10: jobs `one`, `two` form a circle ? put the systems into one job, or let one of them be a target or a witness"]
    );
    let three = [copies("one", "a.csv", "b.csv", "x"), copies("two", "b.csv", "c.csv", "x"), copies("three", "c.csv", "a.csv", "x")];
    assert_eq!(
        check_all(&three).expect_err("round three"),
        ["jobs/three.toml:3:10: jobs `one`, `two`, `three` form a circle ? put the systems into one job, or let one of them be a target or a witness"]
    );
    let audit = JobFile { text: format!("mode = \"audit\"\n{}", three[2].text), path: three[2].path.clone() };
    assert!(check_all(&[three[0].clone(), three[1].clone(), audit]).is_ok(), "an audit writes nothing");

    // Two jobs that share one place, each with columns of its own, send nothing round.
    let peers = |name: &str, other: &str, column: &str| {
        let job = copies(name, "hub.csv", other, column);
        let text = job.text.replace("\"source\"", "\"peer\"").replace("\"target\"", "\"peer\"");
        let text = text.replace("from = \"x\"", &format!("from = \"{column}\"")).replace("[fields.x]\n", "[fields.x]\nmerge = \"longest\"\n");
        JobFile { text: text.replace("[fields.nr]\n", "[fields.nr]\nowner = \"from\"\n"), ..job }
    };
    assert!(check_all(&[peers("one", "a.csv", "x"), peers("two", "b.csv", "y")]).is_ok(), "a hub");
}

#[test]
fn settings_have_defaults_that_work() {
    assert_eq!(read_settings("tieout.toml", ""), Ok(Settings::default()));
    let settings = read_settings(
        "tieout.toml",
        "reports = \"out\"\nsnapshots_days = 30\n[mail]\nfrom = \"${env:FROM}\"\n[defaults]\ntimezone = \"Europe/Berlin\"\nattempts = 3\napply = { retry_for_s = 0 }\nreport = { to = [\"a@example.com\"], when = \"problems\" }\n",
    )
    .expect("right");
    assert_eq!((settings.state.as_str(), settings.reports.as_str(), settings.snapshots_days), ("state", "out", 30));
    assert_eq!((settings.mail.from.as_str(), settings.timezone.as_str(), settings.attempts_max), ("${env:FROM}", "Europe/Berlin", 3));

    let told: Vec<String> = read_settings("tieout.toml", "stat = \"x\"\nreports = \"\"\n[mail]\nfrom = \"me\"\n[defaults]\ntimezone = \"Berlin\"\n")
        .expect_err("four mistakes")
        .iter()
        .map(|mistake| format!("{}: {}", mistake.place, mistake.message))
        .collect();
    assert_eq!(
        told,
        [
            "tieout.toml:1:1: unknown key `stat`",
            "tieout.toml:2:11: `reports` names no folder",
            "tieout.toml:4:8: `mail.from` is not a mail address: `me`",
            "tieout.toml:6:12: there is no time zone `Berlin`"
        ]
    );

    let text = with(CUSTOMERS, "timezone = \"Europe/London\"\n", "").replace("[report]\nto = [\"finance@example.com\"]\nwhen = \"always\"\n", "");
    let jobs = check(&[file("jobs/customers.toml", &text)], &settings).expect("right");
    assert_eq!(jobs[0].schedule.as_ref().map(|schedule| schedule.timezone.as_str()), Some("Europe/Berlin"));
    assert_eq!((jobs[0].report.to.as_slice(), jobs[0].attempts_max, jobs[0].retry_for_s), (&["a@example.com".to_owned()][..], 3, 0));
}

#[test]
fn a_mail_server_has_what_it_needs_and_nothing_in_clear() {
    let read = |mail: &str| read_settings("tieout.toml", &format!("[mail]\n{mail}\n"));
    let server = |mail: &str| read(mail).expect("right").mail.server.expect("a server");
    let usual = server("smtp = \"smtp.example.com\"");
    assert_eq!((usual.host.as_str(), usual.port, usual.security, usual.timeout_s), ("smtp.example.com", 587, Security::Starttls, 30));
    assert_eq!(server("smtp = \"mail\"\nsecurity = \"tls\"").port, 465);
    assert_eq!(server("smtp = \"::1\"\nsecurity = \"plain\"").port, 25);
    let login = server("smtp = \"${env:HOST}\"\nport = 2525\nuser = \"finance\"\npassword = \"${file:secrets/smtp}\"");
    assert_eq!((login.port, login.login), (2525, Some(("finance".to_owned(), "${file:secrets/smtp}".to_owned()))));
    let all = read("reply_to = \"a@example.com\"\nthread = \"month\"\ngive_up_days = 7").expect("right").mail;
    assert_eq!((all.reply_to.as_deref(), all.thread, all.give_up_days, all.server), (Some("a@example.com"), Thread::Month, 7, None));

    for (mail, expected) in [
        ("smtp = \"mail\"\nuser = \"a\"\npassword = \"hunter2\"", "4:12: `mail.password` holds a password in clear"),
        ("smtp = \"mail\"\nuser = \"a\"\npassword = \"x${env:PW}\"", "4:12: `mail.password` holds a password in clear"),
        ("smtp = \"mail\"\nuser = \"a\"\npassword = \"${env:P W}\"", "4:12: `P W` is not the name of an environment variable, in `mail.password`"),
        ("smtp = \"mail\"\nuser = \"a\"", "3:8: `mail.user` has no password"),
        ("smtp = \"mail\"\npassword = \"${env:PW}\"", "3:12: `mail.password` has no user"),
        ("smtp = \"mail.example.com\"\nsecurity = \"plain\"", "3:12: mail to `mail.example.com` would leave this machine unprotected"),
        ("smtp = \"10.0.0.1\"\nsecurity = \"plain\"", "3:12: mail to `10.0.0.1` would leave this machine unprotected"),
        ("smtp = \"localhost.example.com\"\nsecurity = \"plain\"", "3:12: mail to `localhost.example.com` would leave this machine unprotected"),
        ("smtp = \"smtp://mail\"", "2:8: `mail.smtp` is not the name of a machine: `smtp://mail`"),
        ("smtp = \"mail:25\"", "2:8: `mail.smtp` is not the name of a machine: `mail:25`"),
        ("smtp = \"\"", "2:8: `mail.smtp` is empty"),
        ("smtp = \"mail\"\nport = 0", "3:8: `mail.port` must lie between 1 and 65535"),
        ("smtp = \"mail\"\nport = 70000", "3:8: `mail.port` must lie between 1 and 65535"),
        ("smtp = \"mail\"\ntimeout_s = 0", "3:13: `mail.timeout_s` must lie between 1 and 600"),
        ("smtp = \"mail\"\nsecurity = \"ssl\"", "3:12: `mail.security` cannot be `ssl`"),
        ("smtp = \"localhost\"\nsecurity = \"plain\"\nca = \"ca.pem\"", "4:6: `mail.ca` has no use with `security = \"plain\"`"),
        ("port = 587", "2:8: `mail.port` is for a mail server, and none is named"),
        ("give_up_days = 0", "2:16: `mail.give_up_days` must lie between 1 and 60"),
        ("reply_to = \"me\"", "2:12: `mail.reply_to` is not a mail address: `me`"),
        ("thread = \"week\"", "2:10: `mail.thread` cannot be `week`"),
    ] {
        let mistakes = read(mail).expect_err(mail);
        let told: Vec<String> = mistakes.iter().map(|mistake| format!("{}: {}", mistake.place, mistake.message)).collect();
        assert_eq!(told, [format!("tieout.toml:{expected}")], "{mail}");
        assert!(mistakes.iter().all(|mistake| !mistake.to_string().contains("hunter2")));
    }
    let to_failed = with(CUSTOMERS, "when = \"always\"\n", "when = \"always\"\nto_failed = [\"it@example.com\"]\nto_action = [\"lead\"]\n");
    let mistakes = check(&[file("jobs/customers.toml", &to_failed)], &Settings::default()).expect_err("no address");
    assert!(mistakes[0].message.starts_with("`report.to_action` is not a mail address: `lead`"), "{mistakes:?}");
}

/// Every key that there is, once at least.
const EVERY_KEY: &str = r#"name = "customers"
description = "Every key."
key = ["nr"]
mode = "sync"
contact = "finance@example.com"
attempts = 3
apply = { retry_for_s = 30 }
first_contact = "review"
business_timezone = "Europe/Berlin"
schedule = { cron = "0 2 * * *", timezone = "UTC", missed = "skip" }
dedupe = { keep = "latest" }
deletes = { policy = "archive", archive = { field = "open", value = false } }
report = { to = ["finance@example.com"], to_action = ["lead@example.com"], to_failed = ["it@example.com"], when = "changes" }
totals = { amount = { by = "nr", change_max = { EUR = "10000.00", USD = 500 } } }

[[canaries]]
key = "1"
expect = { amount = "1.00" }
systems = ["a"]

[gates]
empty = "stop"
deletes = 10
updates = "30%"
all-changed = "off"
shrink = "off"
growth = "3x"
time-travel = "stop"
floor = 10
b = { floor = 0 }

[systems.a]
kind = "csv"
role = "peer"
path = "${env:DATA}/a.csv"
delimiter = "\t"
quote = "'"
encoding = "utf-16le"
header = 3
on_formula = "allow"
ready = { stable_s = 60 }
ragged = "pad"
trailer = { starts = "T", count_column = 2, sums = { Amount = 3 }, decimal = "," }
backups = 5
id = "nr"
edited_at = { name = "edited", format = "%d.%m.%Y", timezone = "UTC" }
only = { State = "open" }
immutable_when = { State = ["posted", "paid"] }
may = { create = "review", update = "apply", delete = "never" }

[systems.e]
kind = "csv"
role = "witness"
path = "data/e-*.csv"
newest = "%Y%m%d"
ready = { marker = "data/{name}.done" }

[systems.b]
kind = "sql"
role = "peer"
url = "sqlite:b.db"
table = "b"
query = "select * from b where live"
edited_at = "edited"

[systems.c]
kind = "excel"
role = "witness"
path = "data/c.xlsx"
sheet = "Customers"
header = { row = 3, rows = 2 }
stop_at = ["Total", "Sum"]
drop_where = { Name = "Total" }
errors_as_null = ['#N/A']

[systems.d]
kind = "excel"
role = "witness"
path = "data/d.ods"
header = { find = ["nr"] }

[systems.f]
kind = "json"
role = "witness"
path = "data/f.zip"
member = "export/f.json"
records = "$.data.items"
lines = false
null = "omit"

[systems.g]
kind = "parquet"
role = "witness"
path = "data/g-*.parquet"
newest = "%Y%m%d"
ready = { stable_s = 5 }

[systems.h]
kind = "http"
role = "target"
base_url = "https://h.example.com/api"
auth = { bearer = "${env:H_TOKEN}" }
headers = { X-Version = "2026-01" }
ca = "h.pem"
list = { method = "POST", path = "/query", query = { limit = "100" }, body = "{}", records = "$.items", unwrap = "node", page = { cursor = "$.next", param = "$.after", more = "$.more", pages_max = 9 }, total = "$.total", errors = "$.errors" }
get = { path = "/people/{id}", record = "$.person" }
create = { method = "POST", path = "/people", body = "form", wrap = "person", record = "$.person", id = "$.person.id", errors = "$.errors" }
update = { method = "PUT", path = "/people/{id}", with = '{"sparse": true}', wrap = "person", whole = true, without = ["created_at"], whole_objects = true }
delete = { path = "/people/{id}" }
archive = { method = "POST", path = "/people/{id}/archive", body = "none" }
version = { path = "etag", header = "If-Match" }
idempotency = "Idempotency-Key"
responses = [{ calls = ["list"], status = [404], path = "$.error", is = ["none"], says = "none", means = "gone" }]
limits = { rate = "60/min", at_once = 4, calls_max = 100, busy = [429], busy_if_empty = [403], connect_s = 5, read_s = 5, call_s = 9, body_max_mb = 8 }
id = "id"

[systems.i]
kind = "http"
role = "target"
base_url = "https://i.example.com"
auth = { basic = { user = "ann", password = "${env:I_PASSWORD}" } }
list = { path = "/people", page = { number = "page", first = 0 }, total_header = "X-Total" }
version = { path = "version", field = "version" }
id = "id"

[systems.i.create]
path = "/people"
upsert = true
batch = { size = 10, with = '{"performUpsert": {"fieldsToMergeOn": ["nr"]}}', items = "$.records", by = "name", item = '{"bId": "{name}"}', at = "bId", record = "fields", id = "id" }

[systems.i.update]
path = "/people/{id}"
batch = { size = 100, method = "POST", path = "/people/batch/update", items = "$.inputs", item = '{"id": "{id}"}', answers = ["$.results"], by = "id", errors = "errors", status = "status", failures = { path = "$.errors", at = "context.ids" }, atomic = true }

[systems.j]
kind = "http"
role = "witness"
base_url = "https://j.example.com"
auth = { header = "X-Key", key = "${env:J_KEY}" }
list = { path = "/people", page = { offset = "skip" } }

[systems.o]
kind = "http"
role = "witness"
base_url = "https://o.example.com"
auth = { cookie = "session", key = "${env:O_SESSION}" }
list = { path = "/people", format = "ndjson" }

[systems.k]
kind = "http"
role = "witness"
base_url = "https://k.example.com"
auth = { query = "key", key = "${env:K_KEY}" }
list = { path = "/people", page = { last_id = "starting_after" } }
id = "id"

[systems.l]
kind = "http"
role = "witness"
base_url = "https://l.example.com"
auth = { oauth2 = { token_url = "https://login.example.com/token", client_id = "tieout", client_secret = "${env:L_SECRET}", client = "body", refresh_token = "${file:secrets/l}", scope = "people.read", params = { resource = "l" } } }
hosts = ["login.example.com"]
list = { path = "/people", page = { next = "$.next" } }

[systems.m]
kind = "http"
role = "witness"
preset = "stripe.invoices"
base_url = "https://m.example.com"
list = { path = "/people", page = { link = true } }

[systems.n]
kind = "http"
role = "witness"
base_url = "https://n.example.com"
auth = { oauth2 = { token_url = "https://login.example.com/token", jwt = { key = "${file:secrets/key.pem}", issuer = "ours", subject = "ann@example.com", audience = "theirs" } } }
list = { path = "/people" }

[systems.p]
kind = "http"
role = "witness"
base_url = "https://p.example.com"
auth = { session = { path = "/login", body = '{"password": "${env:P_PASSWORD}"}', form = true, token = "$.token", header = "X-Token", prefix = "Token " } }
list = { path = "/people" }

[systems.q]
kind = "http"
role = "witness"
base_url = "https://q.example.com"
auth = { session = { path = "/login", body = '{"password": "${env:Q_PASSWORD}"}', cookie = "sid" } }
list = { path = "/people" }

[fields.nr]
type = "text"
columns = { p = "nr", q = "nr", e = "nr", a = "nr", b = "nr", c = { name = "nr", fixed_width = 8 }, d = "nr", f = "ids[0].nr", g = "nr", h = "nr", i = "nr", j = "nr", k = "nr", l = "nr", m = "nr", n = "nr", o = "nr" }
clean = ["digits", "upper"]
null_tokens = ["leer"]
placeholders = ["00000"]
owner = ["a", "b"]
sensitive = true
important = true

[fields.amount]
type = "decimal(2)"
columns = { a = { name = "Amount", decimal = ",", blank_as = "-" }, b = "amount" }
merge = "latest"
then = { priority = ["b"] }
blank = "propagate"
tolerance = "1%"
on_drift = "report"
first_contact = "fill-blanks"
standardise = true
round = "half-even"

[fields.paid]
type = "decimal(2)"
columns = { a = { name = "Paid", minor_units = true }, b = { name = "paid", credit = "minus" } }
currency = { field = "currency" }
merge = "latest"

[fields.rate]
counts = "points"
type = "decimal(4)"
columns = { a = { name = "Rate", unit = "%" }, b = "rate" }
merge = "latest"

[fields.currency]
type = "text"
columns = { a = "Currency", b = "currency" }
clean = ["currency"]
must_be_valid = true
merge = "latest"

[fields.phone]
type = "text"
columns = { a = "Phone", b = "phone" }
clean = ["phone"]
region = "GB"
merge = "latest"

[fields.due]
type = "date"
columns = { a = { name = "Due", dates = "%d.%m.%y", century_pivot = 50 }, b = { name = "due", dates = "unix-ms" } }
merge = "latest"

[fields.seen]
type = "instant"
columns = { a = { name = "Seen", timezone = "Europe/Berlin", dst = "earlier" }, b = "seen" }
merge = "max"

[fields.open]
type = "boolean"
columns = { a = { name = "Open", booleans = ["ja", "nein"] }, b = "open" }
merge = { most-restrictive = [false, true] }

[fields.since]
type = "instant"
columns = { a = { name = "Since", dates = ["%d.%m.%Y %H:%M"], timezone = "Europe/Berlin" }, b = "since" }
merge = "min"

[fields.tags]
type = "list"
columns = { a = { name = "Tags", separator = "|" }, b = "tags" }
merge = "union"
"#;

/// Whether a value is right by the part of JSON Schema that the schema uses. Patterns are left out.
fn is_right(schema: &serde_json::Value, value: &serde_json::Value) -> bool {
    use serde_json::Value as Json;
    schema.as_object().expect("a schema").iter().all(|(word, rule)| match word.as_str() {
        "$schema" | "title" | "description" | "pattern" | "minItems" => true,
        "minimum" => value.as_f64() >= rule.as_f64(),
        "maximum" => value.as_f64() <= rule.as_f64(),
        "const" => value == rule,
        "type" => {
            let is = |word: &Json| match (word.as_str().expect("a word"), value) {
                ("string", Json::String(_))
                | ("boolean", Json::Bool(_))
                | ("array", Json::Array(_))
                | ("object", Json::Object(_))
                | ("number", Json::Number(_)) => true,
                ("integer", Json::Number(number)) => number.is_i64(),
                _ => false,
            };
            rule.as_array().map_or_else(|| is(rule), |words| words.iter().any(is))
        }
        "anyOf" => rule.as_array().expect("a list").iter().any(|rule| is_right(rule, value)),
        "oneOf" => rule.as_array().expect("a list").iter().filter(|rule| is_right(rule, value)).count() == 1,
        "items" => value.as_array().is_none_or(|items| items.iter().all(|item| is_right(rule, item))),
        "required" => value.as_object().is_none_or(|table| rule.as_array().expect("a list").iter().all(|key| table.contains_key(key.as_str().expect("a key")))),
        "properties" => value.as_object().is_none_or(|table| table.iter().all(|(key, value)| rule.get(key).is_none_or(|rule| is_right(rule, value)))),
        "additionalProperties" => value.as_object().is_none_or(|table| {
            let known = |key: &String| schema.get("properties").is_some_and(|properties| properties.get(key).is_some());
            table.iter().filter(|(key, _)| !known(key)).all(|(_, value)| if rule.is_object() { is_right(rule, value) } else { rule == true })
        }),
        other => panic!("the schema uses `{other}`"),
    })
}

fn keys_of(schema: &serde_json::Value, keys: &mut std::collections::BTreeSet<String>) {
    match schema {
        serde_json::Value::Object(table) => {
            for (word, inner) in table {
                if let ("properties", Some(properties)) = (word.as_str(), inner.as_object()) {
                    keys.extend(properties.keys().cloned());
                }
                keys_of(inner, keys);
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| keys_of(item, keys)),
        _ => {}
    }
}

const INVOICES: &str = r#"
name = "customers"
key = ["number"]

[systems.api]
kind = "json"
role = "peer"
path = "data/invoices.json"
id = "id"

[systems.lake]
kind = "parquet"
role = "peer"
path = "data/invoices.parquet"

[fields.number]
type = "text"
columns = { api = "properties.number", lake = "number" }
owner = "lake"

[fields.id]
type = "integer"
columns = { api = "id" }
owner = "api"
"#;

#[test]
fn files_of_records_are_ready() {
    let json = |text: &str| match check_one(text).expect("a job").systems.remove(0).kind {
        Kind::Json(json) => json,
        other => panic!("{other:?}"),
    };
    let settings = json(INVOICES);
    assert_eq!(
        (settings.file.path.as_str(), settings.has_lines, settings.records_path().as_str(), settings.null),
        ("data/invoices.json", false, "$", JsonNull::Null)
    );
    assert_eq!(
        settings.columns.iter().map(|column| (column.name.as_str(), column.field_type)).collect::<Vec<_>>(),
        [("properties.number", FieldType::Text), ("id", FieldType::Integer)]
    );
    let as_source = |path: &str| with(INVOICES, "role = \"peer\"\npath = \"data/invoices.json\"", &format!("role = \"source\"\npath = \"{path}\""));
    let as_source = |path: &str| with(&as_source(path), "owner = \"lake\"", "owner = \"api\"");
    for (path, has_lines) in
        [("a.ndjson", true), ("a.JSONL.gz", true), ("a.json.gz", false), ("a.ndjson\"\nlines = false\n#", false), ("a.zip\"\nmember = \"a.jsonl", true)]
    {
        assert_eq!(json(&as_source(path)).has_lines, has_lines, "{path}");
    }
    assert_eq!(json(&with(INVOICES, "id = \"id\"\n", "id = \"id\"\nrecords = '$.data[\"the items\"]'\n")).records, ["data", "the items"]);
}

#[test]
fn mistakes_about_files_of_records_are_told() {
    for (from, to, told) in [
        (
            "data/invoices.json",
            "data/invoices.json.gz",
            "8:8: system `api` is written, and a packed file is only read ? unpack the file, or make the system a source or a witness",
        ),
        (
            "id = \"id\"\n",
            "id = \"id\"\nmember = \"a\"\n",
            "10:10: `systems.api.member` is for a zip archive, and `data/invoices.json` is none ? leave it out, or name the archive in `path`",
        ),
        (
            "data/invoices.parquet",
            "data/invoices.parquet.gz",
            "14:8: `systems.lake.path` is a packed file, and a Parquet file is packed inside ? unpack it, and name the Parquet file itself",
        ),
        (
            "data/invoices.json",
            "data/invoices-*.json",
            "8:8: `systems.api.path` stands for several files, and nothing tells which is meant ? say how the date in their names is spelled: `newest = \"%Y%m%d\"`",
        ),
        (
            "id = \"id\"\n",
            "id = \"id\"\nrecords = \"$.items[0]\"\n",
            "10:11: `systems.api.records` goes through an array, and the records are one array ? for example `records = \"$.items\"`",
        ),
        (
            "id = \"id\"\n",
            "id = \"id\"\nrecords = \"$..items\"\n",
            "10:11: `systems.api.records` is no path: a name is missing between its points ? for example `records = \"$.items\"`",
        ),
        (
            "id = \"id\"\n",
            "id = \"id\"\nlines = true\nrecords = \"$.items\"\n",
            "11:11: `systems.api.records` is for one array, and here each line is a record ? leave it out, or say `lines = false`",
        ),
        ("id = \"id\"\n", "id = \"id\"\nnull = \"nil\"\n", "10:8: `systems.api.null` cannot be `nil`"),
        ("id = \"id\"\n", "id = \"id[\"\n", "9:6: column `id[` of system `api` is no path: in its brackets stands a number from 0, or a name in quotes"),
        (
            "id = \"id\"\n",
            "id = \"id\"\nonly = { \"a..b\" = \"x\" }\n",
            "10:10: column `a..b` of system `api` is no path: a name is missing between its points",
        ),
        ("api = \"properties.number\"", "api = \"[0].number\"", "18:13: column `[0].number` of system `api` begins with an index, and a record is an object"),
        ("api = \"properties.number\"", "api = \"$.id\"", "23:13: fields `number` and `id` are both column `id` of system `api`"),
        ("columns = { api = \"id\" }", "columns = { lake = \"id\" }", "9:6: nothing would fill `id` in new rows of system `api`"),
        (
            "path = \"data/invoices.parquet\"\n",
            "path = \"data/invoices.parquet\"\nrecords = \"$\"\n",
            "15:1: `records` is a key of kind `json`, and `systems.lake` is of kind `parquet`",
        ),
        ("kind = \"parquet\"", "kind = \"parket\"", "12:8: `systems.lake.kind` cannot be `parket` ? did you mean `parquet`?"),
    ] {
        let mistakes = check_one(&with(INVOICES, from, to)).expect_err(to);
        assert!(
            mistakes.iter().any(|mistake| mistake.strip_prefix("jobs/customers.toml:").is_some_and(|mistake| mistake.starts_with(told))),
            "{to}\n{mistakes:#?}"
        );
    }
}

#[test]
fn the_schema_and_the_check_know_the_same_keys() {
    let text = schema();
    assert!(text.ends_with("}\n"));
    let schema: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let json = |text: &str| serde_json::to_value(toml::from_str::<toml::Table>(text).expect("TOML")).expect("JSON");

    check_one(EVERY_KEY).expect("the check knows every key");
    assert!(is_right(&schema, &json(EVERY_KEY)), "the schema knows every key of the check");
    assert!(is_right(&schema, &json(CUSTOMERS)));
    let mut keys = std::collections::BTreeSet::new();
    keys_of(&schema, &mut keys);
    for key in keys {
        assert!(EVERY_KEY.contains(&format!("{key} = ")) || EVERY_KEY.contains(&format!("[{key}")), "`{key}` of the schema stands in the file of every key");
    }
    for (from, to) in [
        ("mode = \"sync\"", "mod = \"sync\""),
        ("role = \"peer\"\npath", "role = \"boss\"\npath"),
        ("quote = \"'\"", "table = \"x\""),
        ("type = \"list\"", "type = \"lists\""),
    ] {
        let wrong = with(EVERY_KEY, from, to);
        assert!(to.contains("lists") || !is_right(&schema, &json(&wrong)), "{to}");
        assert!(check_one(&wrong).is_err(), "{to}");
    }
    assert!(!text.contains("memory"), "what is for tests only is not shown");
}

#[test]
fn every_part_of_the_schema_says_what_it_is_for() {
    fn look(schema: &serde_json::Value, path: &str) {
        let Some(table) = schema.as_object() else { return };
        for (key, property) in table.get("properties").and_then(|properties| properties.as_object()).into_iter().flatten() {
            assert!(property["description"].as_str().is_some_and(|about| about.ends_with(['.', '`'])), "{path}.{key} has a description");
            look(property, &format!("{path}.{key}"));
        }
        for word in ["anyOf", "oneOf"] {
            for inner in table.get(word).and_then(|list| list.as_array()).into_iter().flatten() {
                look(inner, path);
            }
        }
        for word in ["items", "additionalProperties"] {
            look(table.get(word).unwrap_or(&serde_json::Value::Null), path);
        }
    }
    look(&serde_json::from_str(&schema()).expect("JSON"), "job");
}

/// Each slip in a system of kind `excel`: lines of it that stand instead of the path, and every mistake that is told.
#[test]
fn workbooks_are_checked_before_they_are_opened() {
    const PATH: &str = "path = \"data/customers.csv\"";
    let excel = with(CUSTOMERS, "kind = \"csv\"\nrole = \"peer\"\npath = \"data/customers.csv\"", &format!("kind = \"excel\"\nrole = \"peer\"\n{PATH}"));
    let excel: String = excel.lines().filter(|line| !line.starts_with("delimiter") && !line.starts_with("encoding")).map(|line| format!("{line}\n")).collect();
    for (lines, expected) in [
        ("path = \"data/customers.xlsx\"", vec![]),
        ("path = \"data/customers.XLSM\"\nheader = 4", vec![]),
        ("path = \"${env:BOOK}\"\nheader = { find = \"E-mail\", rows = 2 }", vec![]),
        ("path = \"data/customers.csv\"", vec!["`data/customers.csv` is not the name of a workbook ? a text file is of `kind = \"csv\"`"]),
        (
            "path = \"data/customers.xls\"",
            vec!["system `sheet` is written, and a workbook of the kind .xls cannot be ? save it as .xlsx, or make the system a source or a witness"],
        ),
        (
            "path = \"a.xlsx\"\nheader = 0",
            vec!["`systems.sheet.header` is 0, and rows are counted from 1 ? a table without a header has no names for its columns: add one"],
        ),
        (
            "path = \"a.xlsx\"\nheader = { row = 2, find = [\"E-mail\"] }",
            vec!["`systems.sheet.header` has both `row` and `find` ? where the row is known, nothing needs to be found"],
        ),
        ("path = \"a.xlsx\"\nheader = { rows = 11 }", vec!["a header has 1 to 10 rows, not 11"]),
        ("path = \"a.xlsx\"\nheader = \"first\"", vec!["`systems.sheet.header` must be a row number or a table, not text"]),
        ("path = \"a.xlsx\"\nsheet = \" \"\nstop_at = \"\"", vec!["`systems.sheet.sheet` is empty", "`systems.sheet.stop_at` is empty"]),
        (
            "path = \"a.xlsx\"\ndrop_where = { Customer = [] }",
            vec!["`systems.sheet.drop_where` names no column, or none of its values ? for example `drop_where = { Customer = [\"Total\"] }`"],
        ),
        (
            "path = \"a.xlsx\"\nerrors_as_null = [\"N/A\"]",
            vec!["`N/A` is not an error of a formula ? they begin with `#`, such as `#N/A`, `#REF!` or `#DIV/0!`"],
        ),
        ("path = \"a.xlsx\"\nencoding = \"utf-8\"", vec!["`encoding` is a key of kind `csv`, and `systems.sheet` is of kind `excel`"]),
        (
            "path = \"a.xlsx\"\nmay = { delete = \"apply\" }",
            vec![
                "`delete` of system `sheet` can only be `never`: no row is ever taken out of a workbook ? leave it out; `policy = \"archive\"` marks rows instead",
            ],
        ),
    ] {
        let told = check_one(&with(&excel, PATH, lines)).err().unwrap_or_default();
        let told: Vec<&str> = told.iter().map(|told| told.splitn(4, ':').nth(3).unwrap_or(told).trim()).collect();
        assert_eq!(told, expected, "{lines}");
    }
    let job = check_one(&with(&excel, PATH, "path = \"data/customers.xlsx\"\nsheet = \"Customers\"")).expect("a job");
    let sheet = &job.systems[job.system("sheet").expect("a system")];
    assert_eq!((sheet.may.delete, sheet.kind.place().as_str()), (Permission::Never, "data/customers.xlsx!Customers"));
    let Kind::Excel(settings) = &sheet.kind else { panic!("{:?}", sheet.kind) };
    let email = settings.columns.iter().find(|column| column.name == "E-mail").expect("the key");
    assert!(email.is_key && email.is_identifier && email.field_type == FieldType::Text);
}

#[test]
fn lost_zeros_come_back_only_where_a_workbook_lost_them() {
    let slip = |from: &str, to: &str| check_one(&with(EVERY_KEY, from, to)).expect_err("refused").join("\n");
    assert!(slip("fixed_width = 8", "fixed_width = 16").contains("`fixed_width` is 16, and a number in a workbook has 1 to 15 digits"));
    assert!(slip("a = \"nr\", b", "a = { name = \"nr\", fixed_width = 8 }, b").contains("`fixed_width` says nothing about system `a` of kind `csv`"));
    assert!(
        slip("b = \"amount\"", "b = \"amount\", c = { name = \"amount\", fixed_width = 8 }").contains("it is for fields of type `text`")
            || slip("b = \"amount\"", "b = \"amount\", c = { name = \"amount\", fixed_width = 8 }")
                .contains("`fixed_width` says nothing about a field of type `decimal(2)`")
    );
}

#[test]
fn two_sheets_of_one_workbook_are_written_by_two_jobs() {
    let sheet = |name: &str, sheet: &str| format!("[systems.{name}]\nkind = \"excel\"\nrole = \"peer\"\npath = \"data/./books.xlsx\"\nsheet = \"{sheet}\"\n");
    let job = |one: &str, other: &str| {
        let field = "[fields.nr]\ntype = \"text\"\ncolumns = { a = \"nr\", b = \"nr\" }\nmerge = \"review\"\n";
        check_one(&format!("name = \"customers\"\nkey = [\"nr\"]\n{}{}{field}", sheet("a", one), sheet("b", other)))
    };
    assert!(job("One", "one").expect_err("the same").join("").contains("are the same place"), "Excel does not tell capitals apart");
    assert!(job("One", "Two").expect_err("one workbook").join("").contains("systems `a` and `b` are both written, and in one workbook"));
}

/// Every folder `fixtures/errors/job_*`: its `jobs/*.toml`, by name, and in `expected.txt` what is told. With
/// `TIEOUT_REWRITE=1` the expectations are written anew, to be reviewed in the diff.
#[test]
fn every_message_is_the_one_of_its_folder() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/errors");
    let sorted = |folder: &std::path::Path| {
        let mut paths: Vec<_> = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        paths
    };
    let name = |path: &std::path::Path| path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
    let folders: Vec<_> = sorted(&root).into_iter().filter(|folder| name(folder).starts_with("job_")).collect();
    assert!(!folders.is_empty());
    for folder in folders {
        let files: Vec<JobFile> = sorted(&folder.join("jobs"))
            .iter()
            .map(|path| file(&format!("jobs/{}", name(path)), &std::fs::read_to_string(path).expect("a job file")))
            .collect();
        let mistakes = check(&files, &Settings::default()).expect_err("a wrong job file");
        let error = Error::of(Remedy::MendJob, mistakes).expect("a mistake");
        let told = format!("{error}\nexit {}\n", error.remedy.exit_code());
        let expected = folder.join("expected.txt");
        if std::env::var_os("TIEOUT_REWRITE").is_some() {
            std::fs::write(&expected, &told).expect("written");
        }
        assert_eq!(std::fs::read_to_string(&expected).unwrap_or_default(), told, "{}", folder.display());
    }
}

#[test]
fn half_a_file_is_refused_and_never_more_than_that() {
    for file_text in [CUSTOMERS, EVERY_KEY] {
        let lines: Vec<&str> = file_text.lines().collect();
        for left_out in 0..lines.len() {
            let mut rest = lines.clone();
            rest.remove(left_out);
            // Right or wrong, it is decided; a job comes out only with all its systems.
            if let Ok(job) = check_one(&rest.join("\n")) {
                assert!(job.systems.len() >= 2 && !job.key.is_empty(), "without line {}", left_out + 1);
            }
        }
        for end in (0..file_text.len()).step_by(11).filter(|end| file_text.is_char_boundary(*end)) {
            if let Err(told) = check_one(&file_text[..end]) {
                assert!(!told.is_empty() && told.iter().all(|mistake| mistake.starts_with("jobs/customers.toml:")), "cut at byte {end}");
            }
        }
    }
}
