//! Mail, received by real servers and read back by an independent reader.
//!
//! The server is aiosmtpd (`mail_server.py`), the reader Python's `email`. Without them the tests say that they skip;
//! `TIEOUT_PYTHON` names a Python that has aiosmtpd. Servers that hang, trickle or are away need nobody's code.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use jiff::{SignedDuration, Timestamp};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use serde_json::{Value as Json, json};
use tieout::delivery::{Post, Which};
use tieout::job::{Security, ServerSettings};
use tieout::mail::{Fate, Letter, Server};
use tieout::project::Project;
use tieout::run::{self, Finished, Request, World};

use crate::errors::{program, tieout};

const PASSWORD: &str = "correct horse, battery";

const JOB: &str = r#"name = "customers"
description = "The CRM and the shop know the same customers."
key = ["number"]

[systems.crm]
kind = "csv"
role = "peer"
path = "data/crm.csv"

[systems.shop]
kind = "csv"
role = "peer"
path = "data/shop.csv"

[fields.number]
type = "text"
columns = { crm = "Number", shop = "Number" }
owner = "crm"

[fields.name]
type = "text"
columns = { crm = "Name", shop = "Name" }
owner = "crm"

[report]
to = ["finance@example.com", "Zoë Müller <zoe@example.nl>"]
"#;

const CRM: &str = "Number,Name\n0007,Müller\n0008,Meier\n";

/// A Python that has aiosmtpd; nothing, loudly, if there is none.
fn python() -> Option<&'static PathBuf> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    PYTHON
        .get_or_init(|| {
            let beside = program().parent().and_then(Path::parent).map(|target| target.join("python/bin/python3"));
            let candidates =
                std::env::var_os("TIEOUT_PYTHON").map(PathBuf::from).into_iter().chain(beside).chain(["python3".into(), "/usr/bin/python3".into()]);
            let found = candidates.into_iter().find(|python| {
                let asked = Command::new(python).args(["-c", "import aiosmtpd"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
                asked.is_ok_and(|status| status.success())
            });
            if found.is_none() {
                eprintln!("SKIPPED mail: there is no python3 with aiosmtpd; `pip install aiosmtpd`, or set TIEOUT_PYTHON");
            }
            found
        })
        .as_ref()
}

/// A running mail server, ended with the test.
struct Mailbox {
    child: Child,
    port: u16,
    into: PathBuf,
}

impl Mailbox {
    /// Nothing if this machine has no server to start.
    fn start(folder: &Path, mut settings: Json) -> Option<Mailbox> {
        let python = python()?;
        let into = folder.join(format!("received-{}.jsonl", fs::read_dir(folder).unwrap().count()));
        settings["into"] = into.display().to_string().into();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/mail_server.py");
        let mut child =
            Command::new(python).args(["-W", "ignore"]).arg(script).arg(settings.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap_or_else(|_| panic!("the mail server does not start: {line:?}"));
        Some(Mailbox { child, port, into })
    }

    fn received(&self) -> Vec<Json> {
        fs::read_to_string(&self.into).unwrap_or_default().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn header<'m>(mail: &'m Json, name: &str) -> Option<&'m str> {
    let headers = mail["message"]["headers"].as_array().unwrap();
    headers.iter().find(|header| header[0].as_str().unwrap().eq_ignore_ascii_case(name)).and_then(|header| header[1].as_str())
}

fn part<'m>(mail: &'m Json, kind: &str) -> &'m str {
    let parts = mail["message"]["parts"].as_array().unwrap();
    parts.iter().find(|part| part["type"] == kind).unwrap_or_else(|| panic!("no {kind}"))["content"].as_str().unwrap()
}

/// A root with one job whose systems agree, and these lines under `[mail]`.
fn root(mail: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for folder in ["jobs", "data"] {
        fs::create_dir(root.path().join(folder)).unwrap();
    }
    fs::write(root.path().join("jobs/customers.toml"), JOB).unwrap();
    fs::write(root.path().join("data/crm.csv"), CRM).unwrap();
    fs::write(root.path().join("data/shop.csv"), CRM).unwrap();
    settings(root.path(), mail);
    root
}

fn settings(root: &Path, mail: &str) {
    fs::write(root.join("tieout.toml"), format!("[mail]\nfrom = \"Tieout <tieout@example.com>\"\n{mail}\n")).unwrap();
}

fn plain(port: u16) -> String {
    format!("smtp = \"127.0.0.1\"\nport = {port}\nsecurity = \"plain\"\ntimeout_s = 20")
}

fn night(root: &Path, at: &str) -> Finished {
    let project = Project::find(Some(root)).unwrap();
    let at: Timestamp = at.parse().unwrap();
    let world = World { root: &project.root, settings: &project.settings, now: &|| at, sleep: &|_| {}, progress: &|_| {}, cancelled: &|| false };
    run::run(&world, &project.job("customers").unwrap(), &Request { first_contact: true, ..Request::default() }).unwrap()
}

fn deliver(root: &Path, at: &str) -> Vec<tieout::delivery::Tried> {
    let project = Project::find(Some(root)).unwrap();
    let at: Timestamp = at.parse().unwrap();
    Post { root: &project.root, settings: &project.settings, now: &|| at }.deliver_due("customers", Which::Due).unwrap()
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn afterthoughts(finished: &Finished) -> String {
    finished.afterthoughts.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Certificates of a private authority, in a folder.
struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2090, 1, 1);
        let key = KeyPair::generate().unwrap();
        fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Authority { folder, issuer: Issuer::new(params, key) }
    }

    fn ca(&self) -> String {
        self.folder.path().join("ca.pem").display().to_string()
    }

    /// Settings of a server with a certificate for a name, valid until a year.
    fn server(&self, name: &str, until: i32) -> Json {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let paths = ["crt", "key"].map(|kind| self.folder.path().join(format!("{name}-{until}.{kind}")));
        fs::write(&paths[0], params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        fs::write(&paths[1], key.serialize_pem()).unwrap();
        json!({"certificate": paths[0], "key": paths[1]})
    }
}

#[test]
fn a_report_reaches_people_over_starttls_with_a_password() {
    let authority = Authority::new();
    let mut server = authority.server("localhost", 2090);
    server["login"] = json!(["finance", PASSWORD]);
    let Some(mailbox) = Mailbox::start(authority.folder.path(), server) else { return };
    let root = root(&format!(
        "reply_to = \"desk@example.com\"\nthread = \"month\"\nsmtp = \"localhost\"\nport = {}\nuser = \"finance\"\npassword = \"${{file:secret}}\"\nca = \"{}\"",
        mailbox.port,
        authority.ca()
    ));
    fs::write(root.path().join("secret"), format!("{PASSWORD}\n")).unwrap();
    // Cells that try to end the message, to start a header, and to turn a line around.
    let crm = "Number,Name\n0007,\"Müller\r\nBcc: all@example.com\"\n0008,\".\"\n0009,\"..\r\n.\r\nMAIL FROM:<x@y.example>\"\n0010,\u{202e}evil\n0011,Łódź 株式会社\n";
    fs::write(root.path().join("data/crm.csv"), crm).unwrap();
    fs::write(root.path().join("data/shop.csv"), "Number,Name\n0007,a\n0008,b\n0009,c\n0010,d\n0011,e\n").unwrap();

    let finished = night(root.path(), "2026-03-31T01:00:00Z");
    assert_eq!(afterthoughts(&finished), "");
    let received = mailbox.received();
    assert_eq!(received.len(), 1);
    let mail = &received[0];
    assert_eq!((&mail["encrypted"], &mail["user"]), (&json!(true), &json!("finance")));
    assert_eq!((&mail["from"], recipients(mail)), (&json!("tieout@example.com"), vec!["finance@example.com", "zoe@example.nl"]));
    assert_eq!(mail["message"]["defects"], json!([]));
    assert_eq!(mail["message"]["to"], json!([["", "finance@example.com"], ["Zoë Müller", "zoe@example.nl"]]));
    for (name, value) in [
        ("Message-ID", "<20260331T010000Z.customers@example.com>"),
        ("References", "<202603.customers.month@example.com>"),
        ("Reply-To", "desk@example.com"),
        ("Auto-Submitted", "auto-generated"),
        ("X-Auto-Response-Suppress", "All"),
        ("List-Id", "<customers.tieout.example.com>"),
        ("X-Tieout-Run", "20260331T010000Z"),
        ("X-Tieout-Verdict", finished.report.verdict.word()),
        ("Date", "Tue, 31 Mar 2026 01:00:00 +0000"),
    ] {
        assert_eq!(header(mail, name), Some(value), "{name}");
    }
    assert_eq!(header(mail, "Bcc"), None);
    let subject = header(mail, "Subject").unwrap();
    assert!(subject.starts_with(&format!("[{}] customers: ", finished.report.verdict.word())) && subject.chars().count() <= 78, "{subject}");
    let (text, html) = (part(mail, "text/plain"), part(mail, "text/html"));
    assert!(text.contains("Łódź 株式会社") && html.contains("Łódź 株式会社"), "{text}");
    assert!(!text.contains('\u{202e}') && !html.contains('\u{202e}'));
    assert!(text.lines().all(|line| line != "." && !line.starts_with("Bcc:")), "{text}");
    let kept = fs::read(finished.folder.join("mail.eml")).unwrap();
    assert!(kept.split(|byte| *byte == b'\n').all(|line| line.len() <= 998), "no line is longer than a server takes");
    for path in files(root.path()).into_iter().filter(|path| !path.ends_with("secret")) {
        let bytes = fs::read(&path).unwrap();
        assert!(!bytes.windows(PASSWORD.len()).any(|bytes| bytes == PASSWORD.as_bytes()), "{} holds the password", path.display());
    }
    assert!(!root.path().join("reports/outbox").exists());
    assert_eq!(told(&tieout(root.path(), &["mail"])), "no mail waits\n");
    let history: Json = serde_json::from_slice(&tieout(root.path(), &["history", "--json"]).stdout).unwrap();
    assert_eq!((&history[0]["mail"]["attempts"], &history[0]["mail"]["recipients"][1]["state"]), (&json!(1), &json!("sent")));
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// To whom the server was asked to send a mail.
fn recipients(mail: &Json) -> Vec<&str> {
    let mut to: Vec<&str> = mail["to"].as_array().unwrap().iter().map(|to| to.as_str().unwrap()).collect();
    to.sort_unstable();
    to
}

/// A letter of these bytes.
fn letter(to: &[&str], message: &[u8]) -> Letter {
    Letter { from: "tieout@example.com".into(), to: to.iter().map(|to| (*to).to_owned()).collect(), message: message.to_vec() }
}

fn opened(port: u16, timeout_s: u32) -> Server {
    let settings = ServerSettings { host: "127.0.0.1".into(), port, security: Security::Plain, login: None, ca: None, timeout_s };
    Server::open(&settings, Path::new(".")).unwrap()
}

#[test]
fn every_byte_of_a_message_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mailbox) = Mailbox::start(folder.path(), json!({})) else { return };
    let attachment: String = (0..60_000).map(|number| format!("{:076}\r\n", number)).collect();
    let head = "From: tieout@example.com\r\nTo: a@example.com\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\nSubject: x\r\n\r\n";
    let dots = "--b\r\nContent-Type: text/plain\r\n\r\n.\r\n..\r\n.hidden\r\na.\r\n\r\n.\r\n";
    let long = "x".repeat(990);
    let workbook = "--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"report.xlsx\"\r\n\r\n";
    let message = format!("{head}{dots}{long}\r\n{workbook}{attachment}--b--\r\n");
    let lone = format!("{head}{dots}").replace("\r\n", "\n");
    let delivery = opened(mailbox.port, 120).deliver(&[letter(&["a@example.com"], message.as_bytes()), letter(&["b@example.com"], lone.as_bytes())]);
    assert_eq!(delivery.trouble, None);
    assert!(delivery.answers.iter().flatten().all(|answer| answer.fate == Fate::Taken), "{:?}", delivery.answers);
    let received = mailbox.received();
    assert_eq!(received.len(), 2, "both letters in one conversation");
    let bytes = |mail: &Json| base64(mail["bytes"].as_str().unwrap());
    // The server that reads to the final dot keeps the line end before it.
    assert_eq!(String::from_utf8(bytes(&received[0])).unwrap().trim_end(), message.trim_end());
    assert_eq!(received[0]["message"]["parts"][1]["name"], "report.xlsx");
    assert_eq!(String::from_utf8(bytes(&received[1])).unwrap().trim_end(), lone.replace('\n', "\r\n").trim_end(), "a lone line end ends no message");
}

fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::with_capacity(text.len());
    let (mut held, mut bits) = (0_u32, 0);
    for digit in text.bytes().filter_map(|byte| DIGITS.iter().position(|digit| *digit == byte)) {
        held = (held << 6) | u32::try_from(digit).unwrap();
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from((held >> bits) & 0xff).unwrap());
        }
    }
    bytes
}

#[test]
fn a_certificate_that_is_not_right_is_refused_in_clear_words() {
    let authority = Authority::new();
    let other = Authority::new();
    let folder = authority.folder.path();
    for (certificate, ca, security, expected) in [
        (authority.server("localhost", 2090), None, "starttls", "signed by nobody that is trusted here"),
        (authority.server("localhost", 2090), Some(other.ca()), "starttls", "signed by nobody that is trusted here"),
        (authority.server("mail.example.org", 2090), Some(authority.ca()), "starttls", "is not for `localhost`, but for"),
        (authority.server("localhost", 2021), Some(authority.ca()), "starttls", "has expired"),
        (authority.server("localhost", 2021), Some(authority.ca()), "tls", "has expired"),
        (authority.server("localhost", 2090), Some(authority.ca()), "tls", ""),
    ] {
        let mut server = certificate;
        server["implicit"] = json!(security == "tls");
        let Some(mailbox) = Mailbox::start(folder, server) else { return };
        let ca = ca.map(|ca| format!("ca = \"{ca}\"")).unwrap_or_default();
        let root = root(&format!("smtp = \"localhost\"\nport = {}\nsecurity = \"{security}\"\n{ca}", mailbox.port));
        let tested = tieout(root.path(), &["mail", "test", "--to", "you@example.com"]);
        let said = told(&tested);
        if expected.is_empty() {
            assert_eq!(tested.status.code(), Some(0), "{said}");
            assert_eq!(header(&mailbox.received()[0], "Subject"), Some("[TEST] tieout: mail works"));
            assert!(said.contains("encrypted, and its certificate is right for `localhost`") && said.contains("to you@example.com: accepted"), "{said}");
        } else {
            assert_eq!(tested.status.code(), Some(3), "{said}");
            assert!(said.contains(expected) && said.contains("no mail was sent") && said.contains("hint: "), "{said}");
            assert!(mailbox.received().is_empty());
        }
    }
}

#[test]
fn nothing_is_said_in_clear_to_a_server_without_encryption() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mailbox) = Mailbox::start(folder.path(), json!({"login": ["finance", PASSWORD]})) else { return };
    let root = root(&format!("smtp = \"localhost\"\nport = {}\nuser = \"finance\"\npassword = \"${{file:secret}}\"", mailbox.port));
    fs::write(root.path().join("secret"), PASSWORD).unwrap();
    let said = told(&tieout(root.path(), &["mail", "test", "--to", "you@example.com"]));
    assert!(said.contains("offers no encryption (STARTTLS)") && !said.contains("signed in"), "{said}");
    // And the other way round: a server that expects TLS, and one that is told to use it and does not.
    settings(root.path(), &format!("smtp = \"localhost\"\nport = {}\nsecurity = \"tls\"", mailbox.port));
    let said = told(&tieout(root.path(), &["mail", "test", "--to", "you@example.com"]));
    assert!(said.contains("does not speak TLS"), "{said}");
    assert!(mailbox.received().is_empty());
}

/// What `tieout mail test` tells of a password that is not the right one.
const WRONG_PASSWORD: &str = "\
error: localhost:PORT: the mail server did not accept the user and the password: 535 5.7.8 no such password: …
  connected to localhost:PORT
  encrypted, and its certificate is right for `localhost`
  no mail was sent
hint: check `user` under `[mail]` and where `password` leads to; some providers want a password made for programs
";

#[test]
fn a_wrong_password_is_told_without_it() {
    let authority = Authority::new();
    for (without, mechanism) in [(json!([]), "PLAIN"), (json!(["PLAIN"]), "LOGIN"), (json!(["PLAIN", "LOGIN"]), "none")] {
        let mut server = authority.server("localhost", 2090);
        server["login"] = json!(["finance", "another"]);
        server["without"] = without;
        let Some(mailbox) = Mailbox::start(authority.folder.path(), server) else { return };
        let root =
            root(&format!("smtp = \"localhost\"\nport = {}\nca = \"{}\"\nuser = \"finance\"\npassword = \"${{file:secret}}\"", mailbox.port, authority.ca()));
        fs::write(root.path().join("secret"), PASSWORD).unwrap();
        let tested = tieout(root.path(), &["mail", "test", "--to", "you@example.com"]);
        let said = told(&tested);
        assert_eq!(tested.status.code(), Some(3), "{said}");
        let expected = if mechanism == "none" { "no way to sign in" } else { "did not accept the user and the password: 535 5.7.8 no such password: …" };
        assert!(said.contains(expected), "{mechanism}: {said}");
        assert!(!said.contains(PASSWORD) && !said.contains("horse"), "{said}");
        if mechanism != "none" {
            let told = String::from_utf8_lossy(&tested.stderr).replace(&mailbox.port.to_string(), "PORT");
            assert_eq!(told, WRONG_PASSWORD, "{mechanism}");
        }
        // A night with it: the run is not touched, the mail waits, and the right password sends it.
        let finished = night(root.path(), "2026-03-31T01:00:00Z");
        assert_eq!(finished.report.exit_code, 0);
        assert!(afterthoughts(&finished).contains(expected) && !afterthoughts(&finished).contains("horse"), "{}", afterthoughts(&finished));
        if mechanism != "none" {
            fs::write(root.path().join("secret"), "another").unwrap();
            assert!(deliver(root.path(), "2026-03-31T01:00:10Z").is_empty(), "not before its time");
            assert!(deliver(root.path(), "2026-03-31T01:02:00Z")[0].arrived());
            assert_eq!(mailbox.received().len(), 1);
        }
    }
}

#[test]
fn one_refused_recipient_does_not_stop_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let rcpt = json!({"gone@example.com": ["550 5.1.1 no such user", "550 5.1.1 no such user"], "grey@example.com": ["451 4.7.1 greylisted, try again"]});
    let Some(mailbox) = Mailbox::start(folder.path(), json!({"rcpt": rcpt})) else { return };
    let root = root(&plain(mailbox.port));
    let job = JOB.replace("\"finance@example.com\"", "\"gone@example.com\", \"finance@example.com\", \"grey@example.com\", \"müller@example.com\"");
    fs::write(root.path().join("jobs/customers.toml"), job).unwrap();
    let first = night(root.path(), "2026-03-31T01:00:00Z");
    assert_eq!(first.report.exit_code, 0);
    let said = afterthoughts(&first);
    for expected in [
        "gone@example.com: refused for good: 550 5.1.1 no such user",
        "grey@example.com: not yet: 451 4.7.1",
        "müller@example.com: refused for good",
        "SMTPUTF8",
    ] {
        assert!(said.contains(expected), "{said}");
    }
    assert_eq!(recipients(&mailbox.received()[0]), ["finance@example.com", "zoe@example.nl"]);
    let named = mailbox.received()[0]["message"]["to"].to_string();
    assert!(named.contains("gone@example.com") && !named.contains("ller@example.com"), "no header has an address that the server cannot take: {named}");
    let history = told(&tieout(root.path(), &["history"]));
    assert!(history.contains("the mail to grey@example.com waits to be sent: 451") && !history.contains("zoe@"), "{history}");

    let later = deliver(root.path(), "2026-03-31T01:10:00Z");
    assert_eq!((later.len(), later[0].arrived(), later[0].recipients.len()), (1, true, 1));
    let received = mailbox.received();
    assert_eq!((received.len(), &received[1]["to"]), (2, &json!(["grey@example.com"])), "who has it does not get it again");
    assert_eq!(header(&received[0], "Message-ID"), header(&received[1], "Message-ID"));
    assert_eq!(received[0]["bytes"], received[1]["bytes"]);

    let second = night(root.path(), "2026-04-01T01:00:00Z");
    let note = second.report.notes.iter().find(|note| note.contains("could not be sent")).expect("is told");
    assert!(note.starts_with("2 mails could not be sent: of run 20260331T010000Z to gone@example.com (refused: 550 5.1.1 no such user)"), "{note}");
    assert!(part(&mailbox.received()[2], "text/plain").contains("could not be sent"));
    let third = night(root.path(), "2026-04-02T01:00:00Z");
    let notes = third.report.notes.join("\n");
    assert!(notes.contains("of run 20260401T010000Z") && !notes.contains("20260331"), "each is told once: {notes}");
}

/// What `tieout mail test` tells of a recipient that the server does not know.
const ONE_REFUSED: &str = "\
error: 127.0.0.1:PORT: the mail server did not take the message for everybody
  connected to 127.0.0.1:PORT
  not encrypted: it is this machine
  from tieout@example.com: accepted
  to gone@example.com: refused (550 5.1.1 no such user)
  to finance@example.com: accepted (250 2.1.5 OK)
  the message: taken (250 2.0.0 queued)
  the others will get the message
hint: its answers say why
";

#[test]
fn a_test_mail_that_not_everybody_gets_says_who() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mailbox) = Mailbox::start(folder.path(), json!({"rcpt": {"gone@example.com": ["550 5.1.1 no such user"]}})) else { return };
    let root = root(&plain(mailbox.port));
    let tested = tieout(root.path(), &["mail", "test", "--to", "gone@example.com", "--to", "finance@example.com"]);
    assert_eq!(String::from_utf8_lossy(&tested.stderr).replace(&mailbox.port.to_string(), "PORT"), ONE_REFUSED);
    assert_eq!(tested.status.code(), Some(3));
    assert_eq!(recipients(&mailbox.received()[0]), ["finance@example.com"]);
}

#[test]
fn what_is_refused_for_good_and_what_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mailbox) = Mailbox::start(folder.path(), json!({"data": ["451 4.3.0 disk full", "554 5.7.1 looks like spam"], "cuts": 1})) else { return };
    let root = root(&plain(mailbox.port));
    let cut = night(root.path(), "2026-03-31T01:00:00Z");
    assert!(afterthoughts(&cut).contains("cut the connection") || afterthoughts(&cut).contains("closed the connection"), "{}", afterthoughts(&cut));
    assert!(afterthoughts(&cut).contains("whether it took the message is not known"), "{}", afterthoughts(&cut));
    let busy = deliver(root.path(), "2026-03-31T02:00:00Z");
    assert!(busy[0].next.is_some() && busy[0].recipients[0].said.as_deref().is_some_and(|said| said.contains("451 4.3.0 disk full")), "{busy:?}");
    let spam = deliver(root.path(), "2026-03-31T03:00:00Z");
    assert!(spam[0].next.is_none() && !spam[0].arrived(), "{spam:?}");
    assert!(deliver(root.path(), "2026-04-03T03:00:00Z").is_empty(), "what is refused for good is not tried again");
    assert!(told(&tieout(root.path(), &["history"])).contains("was refused: 554 5.7.1 looks like spam"));
    assert!(mailbox.received().is_empty());
}

#[test]
fn a_mail_whose_confirmation_is_lost_comes_again_under_the_same_id() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mailbox) = Mailbox::start(folder.path(), json!({"data": ["keep it, and say nothing"]})) else { return };
    let root = root(&plain(mailbox.port).replace("timeout_s = 20", "timeout_s = 2"));
    let first = night(root.path(), "2026-03-31T01:00:00Z");
    assert!(afterthoughts(&first).contains("did not answer within 2 s"), "{}", afterthoughts(&first));
    assert_eq!(first.report.exit_code, 0);
    assert!(deliver(root.path(), "2026-03-31T02:00:00Z")[0].arrived());
    let received = mailbox.received();
    assert_eq!(received.len(), 2);
    assert_eq!(received[0]["bytes"], received[1]["bytes"]);
    assert_eq!(header(&received[0], "Message-ID"), header(&received[1], "Message-ID"));
}

#[test]
fn a_run_that_is_killed_while_it_sends_leaves_its_mail_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mailbox) = Mailbox::start(folder.path(), json!({"data": ["keep it, and say nothing"]})) else { return };
    let root = root(&plain(mailbox.port).replace("timeout_s = 20", "timeout_s = 600"));
    let mut running = Command::new(program())
        .args(["run", "customers", "--first-contact"])
        .current_dir(root.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while mailbox.received().is_empty() {
        assert!(running.try_wait().unwrap().is_none(), "it ended without a word of the server");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    running.kill().unwrap();
    running.wait().unwrap();
    let waiting = told(&tieout(root.path(), &["mail", "list"]));
    assert!(waiting.contains("finance@example.com: tried never"), "{waiting}");
    let soon = (Timestamp::now() + SignedDuration::from_mins(5)).to_string();
    assert!(deliver(root.path(), &soon).is_empty(), "while it may still be sending, nobody else does");
    let later = (Timestamp::now() + SignedDuration::from_hours(1)).to_string();
    assert!(deliver(root.path(), &later)[0].arrived());
    let received = mailbox.received();
    assert_eq!((received.len(), &received[0]["bytes"]), (2, &received[1]["bytes"]));
}

#[test]
fn a_server_that_hangs_keeps_nobody_from_the_job() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let root = root(&plain(listener.local_addr().unwrap().port()).replace("timeout_s = 20", "timeout_s = 600"));
    let start = || {
        let mut command = Command::new(program());
        command.args(["run", "customers", "--first-contact"]).current_dir(root.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let mut first = start().spawn().unwrap();
    let (_silent, _) = listener.accept().unwrap();
    settings(root.path(), &plain(9).replace("timeout_s = 20", "timeout_s = 1"));
    let second = start().output().unwrap();
    assert_eq!(second.status.code(), Some(0), "the lock is free while the first run waits for the server: {}", told(&second));
    assert!(first.try_wait().unwrap().is_none(), "the first run still waits");
    let history = told(&tieout(root.path(), &["history"]));
    assert_eq!(history.matches("OK").count(), 2, "and its verdict is known: {history}");
    first.kill().unwrap();
    first.wait().unwrap();
}

#[test]
fn a_server_that_trickles_is_left_when_the_time_is_over() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        while stream.write_all(b"220-still here\r\n").is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    });
    let delivery = opened(port, 1).deliver(&[letter(&["a@example.com"], b"Subject: x\r\n\r\n")]);
    assert_eq!(delivery.answers[0][0].fate, Fate::Later);
    assert!(delivery.trouble.unwrap().what.contains("did not answer within 1 s"));
}

#[test]
fn a_stranger_at_the_port_is_told_as_one() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for (stream, says) in listener.incoming().zip(["HTTP/1.1 400 Bad Request\r\n\r\n", "421 4.3.2 closing \u{1b}[31mdown\r\n", "554 go away\r\n", ""]) {
            let mut stream = stream.unwrap();
            let _ = stream.write_all(says.as_bytes());
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    for expected in ["does not speak SMTP", "turned us away: 421 4.3.2 closing [31mdown", "turned us away: 554 go away", "closed the connection"] {
        let delivery = opened(port, 10).deliver(&[letter(&["a@example.com"], b"Subject: x\r\n\r\n")]);
        assert_eq!(delivery.answers[0][0].fate, Fate::Later, "{expected}");
        let trouble = delivery.trouble.unwrap();
        assert!(trouble.what.contains(expected) && !trouble.hint.is_empty(), "{trouble:?}");
    }
}

#[test]
fn a_mail_is_tried_every_night_and_given_up_and_the_report_says_so() {
    let root = root(&format!("{}\ngive_up_days = 3", plain(9)));
    let mut notes = Vec::new();
    for day in 1..=6 {
        let finished = night(root.path(), &format!("2026-03-{day:02}T01:00:00Z"));
        assert_eq!(finished.report.exit_code, 0, "a mail that fails never fails a run");
        assert!(afterthoughts(&finished).contains("no mail server listens there"), "{}", afterthoughts(&finished));
        notes.push(finished.report.notes.join("\n"));
    }
    assert_eq!(notes[0], "");
    assert!(
        notes[1].contains("1 mail waits to be sent: of run 20260301T010000Z") && notes[1].contains("tried once, the last time: no mail server listens"),
        "{}",
        notes[1]
    );
    assert!(notes[3].contains("3 mails wait to be sent"), "{}", notes[3]);
    assert!(
        notes[4].contains("2 mails could not be sent: of run 20260301T010000Z to Zoë Müller") && notes[4].contains("given up: no mail server"),
        "{}",
        notes[4]
    );
    assert!(!notes[5].contains("20260301") && notes[5].contains("20260302"), "{}", notes[5]);
    assert!(told(&tieout(root.path(), &["history", "--most", "6"])).contains("was given up: no mail server listens there"));
    // Without a server, whatever still waits goes to the outbox.
    settings(root.path(), "");
    let sent = tieout(root.path(), &["mail"]);
    assert_eq!(sent.status.code(), Some(0), "{}", told(&sent));
    let names: Vec<String> = fs::read_dir(root.path().join("reports/outbox")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

#[test]
fn problems_are_mailed_once_reminded_and_ended_over_real_nights() {
    let root = root("");
    fs::write(root.path().join("jobs/customers.toml"), format!("{JOB}to_failed = [\"it@example.com\"]\nwhen = \"problems\"\n")).unwrap();
    let mut subjects = Vec::new();
    for day in 1..=12 {
        let data = root.path().join("data/shop.csv");
        match day {
            3 => fs::remove_file(&data).unwrap(),
            8 => fs::write(&data, CRM).unwrap(),
            _ => {}
        }
        let finished = night(root.path(), &format!("2026-03-{day:02}T01:00:00Z"));
        let mail = root.path().join(format!("reports/outbox/customers-{}.eml", finished.report.run));
        if let Ok(mail) = fs::read_to_string(mail) {
            let to = if mail.contains("it@example.com") { "+it" } else { "" };
            let why = mail.lines().find_map(|line| line.strip_prefix("X-Tieout-Why: ")).unwrap();
            subjects.push(format!("{day} {} {why}{to}", finished.report.verdict.word()));
        }
    }
    assert_eq!(subjects, ["1 OK sign-of-life", "3 FAILED problem+it", "4 FAILED reminder+it", "6 FAILED reminder+it", "8 OK recovery+it"]);
}

#[test]
fn a_mail_that_cannot_be_made_is_told_by_the_next_report() {
    let root = root("");
    fs::write(root.path().join("tieout.toml"), "[mail]\nfrom = \"${file:sender}\"\n").unwrap();
    let first = night(root.path(), "2026-03-01T01:00:00Z");
    assert!(afterthoughts(&first).contains("a reference of `mail.from` cannot be resolved"), "{}", afterthoughts(&first));
    fs::write(root.path().join("sender"), "tieout@example.com\n").unwrap();
    let second = night(root.path(), "2026-03-02T01:00:00Z");
    assert_eq!(afterthoughts(&second), "");
    assert!(second.report.notes.join("\n").contains("could not be sent: of run 20260301T010000Z"), "{:?}", second.report.notes);
    let mail = fs::read_to_string(root.path().join("reports/outbox/customers-20260302T010000Z.eml")).unwrap();
    assert!(mail.contains("From: tieout@example.com\r\n"), "{mail}");
}

#[test]
fn a_ledger_of_the_version_before_goes_on() {
    let root = root("");
    night(root.path(), "2026-03-01T01:00:00Z");
    let path = root.path().join("state/customers/ledger.sqlite");
    let ledger = rusqlite::Connection::open(&path).unwrap();
    ledger
        .execute_batch(
            "DROP TABLE chain; DROP TABLE removals; DROP TABLE break_events; DROP TABLE checks;
             DROP INDEX journal_by_record; DROP INDEX discarded_by_run; DROP INDEX links_by_run; DROP INDEX allowed_by_run; DROP INDEX runs_unsealed;
             ALTER TABLE journal DROP COLUMN settled; ALTER TABLE journal DROP COLUMN detail; ALTER TABLE journal DROP COLUMN made;
             ALTER TABLE runs DROP COLUMN is_sealed;
             DROP TABLE recipients; DROP TABLE mail; DROP TABLE files; DROP TABLE retries; DROP TABLE answers; DROP TABLE answer_events;
             CREATE TABLE mail (run TEXT PRIMARY KEY, file TEXT NOT NULL, state TEXT NOT NULL CHECK (state IN ('outbox', 'failed')), problem TEXT) STRICT;
             INSERT INTO mail VALUES ('20260301T010000Z', 'customers-20260301T010000Z.eml', 'outbox', NULL), ('20260228T010000Z', 'x.eml', 'failed', 'disk full');
             PRAGMA user_version = 1;",
        )
        .unwrap();
    drop(ledger);
    let history = tieout(root.path(), &["history"]);
    assert_eq!(history.status.code(), Some(0), "{}", told(&history));
    let next = night(root.path(), "2026-03-02T01:00:00Z");
    assert_eq!((next.report.exit_code, next.report.previous_run.as_deref()), (0, Some("20260301T010000Z")));
    assert!(root.path().join("reports/outbox/customers-20260302T010000Z.eml").is_file());
    let ledger = rusqlite::Connection::open(&path).unwrap();
    let states: Vec<String> =
        ledger.prepare("SELECT state FROM recipients ORDER BY mail, address").unwrap().query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(states, ["given-up", "outbox", "outbox", "outbox"]);
    let verified = tieout(root.path(), &["history", "customers", "--verify"]);
    assert!(told(&verified).contains("2 runs") && verified.status.code() == Some(0), "{}", told(&verified));
}

/// OpenSMTPD in a name space of its own, so that neither its spool nor its socket touches those of the machine.
struct OpenSmtpd(Child);

impl Drop for OpenSmtpd {
    fn drop(&mut self) {
        // Its name space ends with it, and with that everything that it has started.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn opensmtpd_keeps_what_it_is_given() {
    let folder = tempfile::Builder::new().permissions(std::os::unix::fs::PermissionsExt::from_mode(0o711)).tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (mails, conf) = (folder.path().join("mail"), folder.path().join("smtpd.conf"));
    fs::create_dir(&mails).unwrap();
    fs::set_permissions(&mails, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let text = format!(
        "table everybody {{ \"@\" = \"nobody\" }}\nlisten on 127.0.0.1 port {port} hostname localhost\naction \"keep\" maildir \"{}\" virtual <everybody>\nmatch from any for domain \"example.com\" action \"keep\"\n",
        mails.display()
    );
    fs::write(&conf, text).unwrap();
    let start = format!(
        "mkdir -p /var/spool/smtpd && mount -t tmpfs -o mode=711 tmpfs /var/spool/smtpd && mount -t tmpfs tmpfs /run && exec smtpd -d -f {}",
        conf.display()
    );
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let checked = Command::new("smtpd").env("PATH", &path).args(["-n", "-f"]).arg(&conf).output();
    let may = Command::new("unshare").args(["--mount", "--pid", "--fork", "true"]).output();
    if !checked.is_ok_and(|output| output.status.success()) || !may.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED opensmtpd: it is not installed, or this user may make no name space");
        return;
    }
    let unshare = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", &start];
    let mut server =
        OpenSmtpd(Command::new("unshare").args(unshare).env("PATH", &path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(server.0.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let wait = || std::thread::sleep(std::time::Duration::from_millis(50));
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(server.0.try_wait().unwrap().is_none(), "opensmtpd ended: {line}");
        wait();
    }
    let root = root(&plain(port));
    fs::write(root.path().join("data/crm.csv"), "Number,Name\n0007,\".\r\n..\"\n0008,Łódź 株式会社\n").unwrap();
    let finished = night(root.path(), "2026-03-31T01:00:00Z");
    let said = afterthoughts(&finished);
    assert!(said.contains("Zoë Müller <zoe@example.nl>: refused for good: 550") && !said.contains("finance@example.com"), "{said}");
    let arrived = loop {
        let found = fs::read_dir(mails.join("new")).into_iter().flatten().flatten().next();
        if let Some(entry) = found {
            break fs::read_to_string(entry.path()).unwrap();
        }
        wait();
    };
    // Servers add trace headers in front, and keep the rest.
    let sent = fs::read_to_string(finished.folder.join("mail.eml")).unwrap().replace("\r\n", "\n");
    assert!(arrived.trim_end().ends_with(sent.trim_end()), "{arrived}\n\n{sent}");
}

#[test]
fn mail_test_without_a_server_says_where_mails_go() {
    let root = root("");
    let tested = tieout(root.path(), &["mail", "test", "--to", "you@example.com"]);
    assert_eq!(tested.status.code(), Some(0));
    assert!(told(&tested).contains("no mail server is named"), "{}", told(&tested));
    assert_eq!(fs::read_dir(root.path().join("reports/outbox")).unwrap().count(), 1);
    let nobody = tieout(root.path(), &["mail", "test"]);
    assert_eq!(nobody.status.code(), Some(2), "{}", told(&nobody));
    let waiting = told(&tieout(root.path(), &["mail", "list"]));
    assert_eq!(waiting, "no mail waits: without a mail server in tieout.toml each is put as a file into the folder `outbox` of the reports\n");
    assert!(!root.path().join("state").exists());
}
