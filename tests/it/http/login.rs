//! Logins by a token server: fetched, renewed, rotated, cut off at every step, and never shown.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tieout::error::Remedy;
use tieout::job::{HttpAuth, HttpClientProof, HttpGrant, HttpJwt, HttpOauth2, HttpPage, HttpParameter, HttpSettings};
use tieout::report::Verdict;

use super::{Asked, Records, Said, Server, form, listed, night, opened_at, page_of, path, people, said, tells, well_behaved};

/// A token server that rotates: it takes each refresh token once, and with `grace` the one before it as well. Access tokens are `access-N`.
struct Rotating {
    /// The refresh token that it gave out last.
    newest: String,
    before: String,
    access: String,
    count: usize,
    has_grace: bool,
}

impl Rotating {
    fn new(has_grace: bool) -> Arc<Mutex<Rotating>> {
        Arc::new(Mutex::new(Rotating { newest: "refresh-0".to_owned(), before: String::new(), access: String::new(), count: 0, has_grace }))
    }

    fn answer(&mut self, asked: &Asked) -> Said {
        let sent = form(&asked.body);
        let token = &sent["refresh_token"];
        assert_eq!(sent["grant_type"], "refresh_token");
        if *token != self.newest && !(self.has_grace && *token == self.before) {
            return said(400, json!({"error": "invalid_grant", "error_description": format!("no {token}")}).to_string());
        }
        self.count += 1;
        self.before = std::mem::replace(&mut self.newest, format!("refresh-{}", self.count));
        self.access = format!("access-{}", self.count);
        said(200, json!({"access_token": self.access, "refresh_token": self.newest, "expires_in": 3600, "token_type": "bearer"}).to_string())
    }
}

/// An API with its token server at `/token`; `disturb` may say something else first.
fn with_tokens(tokens: &Arc<Mutex<Rotating>>, mut disturb: impl FnMut(&Asked) -> Option<Said> + Send + 'static) -> Server {
    let tokens = Arc::clone(tokens);
    Server::start(move |asked| {
        if asked.path == "/token" {
            let answer = tokens.lock().unwrap().answer(asked);
            return disturb(asked).unwrap_or(answer);
        }
        if let Some(other) = disturb(asked) {
            return other;
        }
        match asked.headers.get("authorization") == Some(&format!("Bearer {}", tokens.lock().unwrap().access)) {
            true => page_of(&people(0..2)),
            false => said(401, r#"{"message": "token expired"}"#),
        }
    })
}

fn refreshing(address: &str) -> HttpSettings {
    let oauth2 = HttpOauth2 {
        token_url: format!("{address}/token"),
        client_id: Some("tieout".to_owned()),
        client_secret: Some("${file:secret}".to_owned()),
        grant: HttpGrant::Refresh("${file:refresh}".to_owned()),
        ..HttpOauth2::default()
    };
    HttpSettings { auth: HttpAuth::Oauth2(Box::new(oauth2)), ..listed(address, HttpPage::Single) }
}

fn root() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "cl1ent+secret\n").unwrap();
    std::fs::write(folder.path().join("refresh"), "refresh-0\n").unwrap();
    folder
}

/// The kept login: its path and what is in it.
fn kept(root: &Path) -> Option<(PathBuf, Json)> {
    let folder = std::fs::read_dir(root.join("state/.logins")).ok()?;
    let path = folder.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "json"))?;
    let text = std::fs::read_to_string(&path).unwrap();
    Some((path, serde_json::from_str(&text).unwrap()))
}

fn calls(server: &Server, path: &str) -> usize {
    server.asked().iter().filter(|asked| asked.path == path).count()
}

fn client_credentials(address: &str, change: impl FnOnce(&mut HttpOauth2)) -> HttpSettings {
    let mut oauth2 = HttpOauth2 {
        token_url: format!("{address}/token"),
        client_id: Some("tie out".to_owned()),
        client_secret: Some("${file:secret}".to_owned()),
        scope: Some("people.read".to_owned()),
        ..HttpOauth2::default()
    };
    change(&mut oauth2);
    HttpSettings { auth: HttpAuth::Oauth2(Box::new(oauth2)), ..listed(address, HttpPage::Number(HttpParameter::Query("page".to_owned()), 1)) }
}

#[test]
fn a_token_is_fetched_once_and_renewed_when_it_ends_between_two_pages() {
    let folder = root();
    let mut given = 0;
    let server = Server::start(move |asked| {
        if asked.path == "/token" {
            given += 1;
            return said(200, json!({"access_token": format!("token-{given}"), "expires_in": "3600"}).to_string());
        }
        let page: usize = asked.query["page"].parse().unwrap();
        // The first token ends after the first page.
        match (asked.headers["authorization"].as_str(), page) {
            ("Bearer token-1", 1) | ("Bearer token-2", 2) => page_of(&people(page * 2..page * 2 + 2)),
            ("Bearer token-2", _) => page_of(&[]),
            _ => said(401, ""),
        }
    });
    let pulled = opened_at(folder.path(), client_credentials(&server.address, |oauth2| oauth2.params = vec![("audience".to_owned(), "crm".to_owned())]))
        .unwrap()
        .pull()
        .unwrap();
    assert_eq!(pulled.height(), 4);
    assert_eq!((calls(&server, "/token"), calls(&server, "/api/people")), (2, 4));
    let first = server.asked().remove(0);
    assert_eq!((first.method.as_str(), first.headers["authorization"].as_str()), ("POST", "Basic dGllK291dDpjbDFlbnQlMkJzZWNyZXQ="));
    assert_eq!(first.headers["content-type"], "application/x-www-form-urlencoded");
    let sent = form(&first.body);
    assert_eq!((sent["grant_type"].as_str(), sent["scope"].as_str(), sent["audience"].as_str()), ("client_credentials", "people.read", "crm"));
    assert!(!sent.contains_key("client_secret"));
    assert!(kept(folder.path()).is_none(), "nothing is kept that can be fetched anew");

    // Refused again with a new token: it is not tried a third time.
    let server =
        Server::start(|asked| if asked.path == "/token" { said(200, r#"{"access_token": "t0ken"}"#) } else { said(401, r#"{"message": "no t0ken"}"#) });
    let error = opened_at(folder.path(), client_credentials(&server.address, |oauth2| oauth2.client = HttpClientProof::Body)).unwrap().pull().unwrap_err();
    tells(&error, &["does not accept our login", "it says: no ***"]);
    assert_eq!((calls(&server, "/token"), calls(&server, "/api/people")), (2, 2));
    let sent = form(&server.asked()[0].body);
    assert_eq!((sent["client_id"].as_str(), sent["client_secret"].as_str()), ("tie out", "cl1ent+secret"));
}

#[test]
fn a_token_that_ends_soon_is_renewed_before_it_is_refused() {
    let folder = root();
    let mut given = 0;
    let server = Server::start(move |asked| {
        if asked.path == "/token" {
            given += 1;
            return said(200, json!({"access_token": format!("token-{given}"), "expires_in": if given == 1 { 0 } else { 600 }}).to_string());
        }
        let page: usize = asked.query["page"].parse().unwrap();
        if page < 3 { page_of(&people(page..page + 1)) } else { page_of(&[]) }
    });
    opened_at(folder.path(), client_credentials(&server.address, |_| {})).unwrap().pull().unwrap();
    let tokens: Vec<String> = server.asked().iter().filter(|asked| asked.path != "/token").map(|asked| asked.headers["authorization"].clone()).collect();
    assert_eq!(tokens, ["Bearer token-1", "Bearer token-2", "Bearer token-2"]);
}

#[test]
fn what_a_token_server_says_no_to_is_told_and_shows_no_secret() {
    let folder = root();
    let replies = [
        (401, r#"{"error": "invalid_client", "error_description": "cl1ent+secret is wrong"}"#, "does not know us"),
        (400, r#"{"error": "invalid_scope"}"#, "gives no token for this `scope`"),
        (400, r#"{"error": "unsupported_grant_type"}"#, "gives us no token"),
        (200, r#"{"token": "cl1ent+secret"}"#, "there is no `access_token` in its answer"),
        (200, "access_token=cl1ent+secret", "there is no `access_token` in its answer"),
        (200, r#"{"access_token": "a\nb"}"#, "there is no `access_token` in its answer"),
        (403, "<html><title>Forbidden</title>", "a web page: Forbidden"),
    ];
    for (status, reply, words) in replies {
        let server = Server::start(move |_| said(status, reply));
        let error = opened_at(folder.path(), client_credentials(&server.address, |_| {})).unwrap().pull().unwrap_err();
        tells(&error, &[words, "/token", "nothing was read or written"]);
        assert!(!error.to_string().contains("cl1ent"), "{error}");
        assert_eq!((error.remedy, calls(&server, "/token"), server.asked().len()), (Remedy::GiveAccess, 1, 1), "{error}");
    }
    // What passes is waited for.
    let mut count = 0;
    let server = Server::start(move |asked| {
        count += 1;
        match (asked.path.as_str(), count) {
            ("/token", 1) => said(503, "").with("Retry-After", "0"),
            ("/token", _) => said(200, r#"{"access_token": "t0ken"}"#),
            _ => page_of(&[]),
        }
    });
    opened_at(folder.path(), client_credentials(&server.address, |_| {})).unwrap().pull().unwrap();
}

#[test]
fn a_rotated_token_is_on_disk_before_its_access_token_is_used() {
    let folder = root();
    let tokens = Rotating::new(false);
    let (watched, rotating) = (folder.path().to_owned(), Arc::clone(&tokens));
    let server = with_tokens(&tokens, move |asked| {
        let (file, kept) = kept(&watched).expect("there is a kept login");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "for its owner only");
        assert_eq!(file.parent().unwrap().metadata().unwrap().permissions().mode() & 0o077, 0);
        match asked.path.as_str() {
            "/token" => assert!(kept["begun"].is_string(), "that it began is known: {kept}"),
            _ => assert_eq!((kept["refresh_token"].as_str(), kept.get("begun")), (Some(rotating.lock().unwrap().newest.as_str()), None)),
        }
        None
    });
    for _ in 0..2 {
        assert_eq!(opened_at(folder.path(), refreshing(&server.address)).unwrap().pull().unwrap().height(), 2);
    }
    assert_eq!(calls(&server, "/token"), 1, "an access token that holds is used again");
    // The API ends the token: it is renewed with the token that was kept, and not with the one in the job file.
    tokens.lock().unwrap().access = "another".to_owned();
    assert_eq!(opened_at(folder.path(), refreshing(&server.address)).unwrap().pull().unwrap().height(), 2);
    assert_eq!((calls(&server, "/token"), tokens.lock().unwrap().count), (2, 2));
    assert_eq!(kept(folder.path()).unwrap().1["refresh_token"], "refresh-2");
}

#[test]
fn a_login_that_has_ended_is_told_once_and_another_token_of_the_job_wins() {
    let folder = root();
    let tokens = Rotating::new(false);
    let server = with_tokens(&tokens, |_| None);
    opened_at(folder.path(), refreshing(&server.address)).unwrap().pull().unwrap();
    {
        let mut tokens = tokens.lock().unwrap();
        (tokens.access, tokens.newest) = ("gone".to_owned(), "person-was-here".to_owned());
    }
    let before = calls(&server, "/token");
    let error = opened_at(folder.path(), refreshing(&server.address)).unwrap().pull().unwrap_err();
    tells(
        &error,
        &["our login at system `crm` has ended", "`invalid_grant`", "nothing was read or written", "log in to the API again", "where `${file:refresh}` leads"],
    );
    assert!(!error.to_string().contains("refresh-1"), "{error}");
    assert_eq!((error.remedy.exit_code(), calls(&server, "/token") - before), (3, 1), "it is never sent again");
    assert_eq!(kept(folder.path()).unwrap().1.get("begun"), None, "a no is an answer");
    // A person logs in again.
    std::fs::write(folder.path().join("refresh"), "person-was-here\n").unwrap();
    assert_eq!(opened_at(folder.path(), refreshing(&server.address)).unwrap().pull().unwrap().height(), 2);
    assert_eq!(kept(folder.path()).unwrap().1["refresh_token"], "refresh-2");
    // What is in the file and cannot be read is told, and not overwritten.
    let file = kept(folder.path()).unwrap().0;
    std::fs::write(&file, "{\"from\"").unwrap();
    let error = opened_at(folder.path(), refreshing(&server.address)).unwrap().pull().unwrap_err();
    tells(&error, &["the kept login of system `crm` cannot be read", "remove this file"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "{\"from\"");
}

#[test]
fn eight_who_need_the_same_login_renew_it_once() {
    let folder = root();
    let tokens = Rotating::new(false);
    let server = with_tokens(&tokens, |_| None);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(opened_at(folder.path(), refreshing(&server.address)).unwrap().pull().unwrap().height(), 2));
        }
    });
    assert_eq!((calls(&server, "/token"), tokens.lock().unwrap().count), (1, 1));
}

const JOB: &str = r#"name = "people"
mode = "audit"
key = ["name"]

[systems.crm]
kind = "http"
role = "source"
base_url = "ADDRESS/api"
list = { path = "/people", records = "$.items" }
id = "id"

[systems.crm.auth.oauth2]
token_url = "ADDRESS/token"
client_id = "tieout"
client_secret = "${file:secret}"
refresh_token = "${file:refresh}"

[systems.books]
kind = "csv"
role = "source"
path = "data/books.csv"

[fields.name]
type = "text"
columns = { crm = "name", books = "name" }
owner = ["crm", "books"]
"#;

fn project(root: &Path, job: &str, books: &str) {
    for folder in ["jobs", "data"] {
        std::fs::create_dir(root.join(folder)).unwrap();
    }
    std::fs::write(root.join("jobs/people.toml"), job).unwrap();
    std::fs::write(root.join("data/books.csv"), books).unwrap();
}

fn connect(root: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tieout"));
    command.args(["check", "--connect", "people"]).current_dir(root).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The process is killed while the token server holds back its answer, or while the API holds back the first one that the new token
/// asked for. The next process goes on with the same login.
#[test]
fn a_process_that_is_killed_while_it_renews_loses_no_login() {
    for cut_at in ["/token", "/api/people"] {
        let folder = root();
        let root = folder.path();
        let tokens = Rotating::new(true);
        let child: Arc<Mutex<Option<Child>>> = Arc::default();
        let victim = Arc::clone(&child);
        let kills = AtomicUsize::new(0);
        let server = with_tokens(&tokens, move |asked| {
            if asked.path == cut_at && kills.fetch_add(1, Ordering::SeqCst) == 0 {
                let mut victim = loop {
                    if let Some(child) = victim.lock().unwrap().take() {
                        break child;
                    }
                    std::thread::yield_now();
                };
                victim.kill().unwrap();
                victim.wait().unwrap();
            }
            None
        });
        project(root, &JOB.replace("ADDRESS", &server.address), "name\nPerson 0\nPerson 1\n");
        *child.lock().unwrap() = Some(connect(root).spawn().unwrap());
        let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while server.asked().iter().all(|asked| asked.path != cut_at) || child.lock().unwrap().is_some() {
            assert!(std::time::Instant::now() < until, "the process never came to {cut_at}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let next = connect(root).output().unwrap();
        assert!(next.status.success(), "{cut_at}: {}", String::from_utf8_lossy(&next.stderr));
        let sent: Vec<String> = server.asked().iter().filter(|asked| asked.path == "/token").map(|asked| form(&asked.body)["refresh_token"].clone()).collect();
        match cut_at {
            "/token" => assert_eq!(sent, ["refresh-0", "refresh-0"], "what was on its way is lost, and the former token is taken once more"),
            _ => assert_eq!(sent, ["refresh-0"], "what was saved is used"),
        }
        assert_eq!(kept(root).unwrap().1["refresh_token"], tokens.lock().unwrap().newest);
    }
}

#[test]
fn a_renewal_that_was_cut_off_is_told_where_the_login_is_lost_with_it() {
    let folder = root();
    let root = folder.path();
    let tokens = Rotating::new(false);
    let mut is_first = true;
    let server = with_tokens(&tokens, move |asked| (asked.path == "/token" && std::mem::take(&mut is_first)).then(super::silent));
    let settings = HttpSettings { retry_for_s: 0, ..refreshing(&server.address) };
    tells(&opened_at(root, settings.clone()).unwrap().pull().unwrap_err(), &["cannot be reached"]);
    assert!(kept(root).unwrap().1["begun"].is_string());
    let error = opened_at(root, settings).unwrap().pull().unwrap_err();
    tells(&error, &["our login at system `crm` has ended", "was cut off: the token that came with it is lost"]);
}

/// All files below a folder with their bytes.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files(&path)),
            path => found.push((path.clone(), std::fs::read(&path).unwrap())),
        }
    }
    found
}

#[test]
fn no_file_of_a_run_but_the_kept_login_holds_a_secret() {
    let folder = root();
    let root = folder.path();
    let records: Records = Arc::new(Mutex::new(people(0..2)));
    let api = well_behaved(records, "\u{2603}");
    let tokens = Rotating::new(false);
    let behind = api.address.clone();
    let server = with_tokens(&tokens, move |asked| {
        // It shows every secret to whoever asks, where it fails.
        let fails = asked.headers.get("authorization").is_some_and(|token| token.ends_with("access-2"));
        (asked.path != "/token").then(|| match fails {
            true => said(422, json!({"message": format!("{:?} refresh-2 cl1ent+secret", asked.headers)}).to_string()),
            false => super::passed_on(&behind, asked),
        })
    });
    project(root, &JOB.replace("ADDRESS", &server.address), "name\nPerson 0\nPerson 1\n");
    let first = night(root, true);
    assert_eq!(first.report.verdict, Verdict::Ok, "{}", std::fs::read_to_string(first.folder.join("report.txt")).unwrap_or_default());
    std::fs::remove_file(kept(root).unwrap().0).unwrap();
    std::fs::write(root.join("refresh"), "refresh-1").unwrap();
    let second = night(root, false);
    assert_eq!(second.exit_code, 2, "{}", second.report.sentence);
    let output = connect(root).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("***"), "{told}");
    let mut all = files(root);
    all.push((PathBuf::from("stderr"), output.stderr));
    for (path, bytes) in all {
        let is_own = path.parent().is_some_and(|parent| parent.ends_with(".logins")) || ["secret", "refresh"].iter().any(|name| path == root.join(name));
        for secret in ["cl1ent", "refresh-0", "refresh-1", "refresh-2", "access-1", "access-2"] {
            let is_there = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(is_own || !is_there, "`{secret}` is in {}", path.display());
        }
    }
}

#[test]
fn a_claim_is_signed_with_the_key_of_a_service_account() {
    let folder = root();
    let pem = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/systems/http_signing_key.pem")).unwrap();
    std::fs::write(folder.path().join("key.pem"), &pem).unwrap();
    let account = json!({"type": "service_account", "private_key_id": "k1", "private_key": pem, "client_email": "sheets@example.iam"});
    std::fs::write(folder.path().join("google.json"), account.to_string()).unwrap();
    let ask = |jwt: HttpJwt| {
        let server = Server::start(|asked| if asked.path == "/token" { said(200, r#"{"access_token": "t0ken"}"#) } else { page_of(&[]) });
        let settings = client_credentials(&server.address, |oauth2| {
            *oauth2 = HttpOauth2 { grant: HttpGrant::Jwt(jwt), client_id: None, client_secret: None, ..oauth2.clone() };
        });
        opened_at(folder.path(), settings).unwrap().pull().unwrap();
        let sent = form(&server.asked()[0].body);
        assert_eq!(sent["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
        assert_eq!(server.asked()[1].headers["authorization"], "Bearer t0ken");
        let (signed, signature) = sent["assertion"].rsplit_once('.').unwrap();
        let pair = ring::signature::RsaKeyPair::from_pkcs8(&decoded(&pem)).unwrap();
        let public = ring::signature::UnparsedPublicKey::new(&ring::signature::RSA_PKCS1_2048_8192_SHA256, pair.public().as_ref().to_vec());
        public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).expect("the signature is right");
        let parts: Vec<Json> = signed.split('.').map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()).collect();
        assert!(parts[1]["exp"].as_i64().unwrap() > parts[1]["iat"].as_i64().unwrap());
        (server.address.clone(), parts[0].clone(), parts[1].clone())
    };
    let (address, header, claim) = ask(HttpJwt { key: "${file:google.json}".to_owned(), ..HttpJwt::default() });
    assert_eq!((header["alg"].as_str(), header["kid"].as_str()), (Some("RS256"), Some("k1")));
    assert_eq!(
        (claim["iss"].as_str(), claim["aud"].as_str(), claim["scope"].as_str()),
        (Some("sheets@example.iam"), Some(&*format!("{address}/token")), Some("people.read"))
    );
    let salesforce = HttpJwt {
        key: "${file:key.pem}".to_owned(),
        issuer: Some("3MVG9".to_owned()),
        subject: Some("ann@example.com".to_owned()),
        audience: Some("https://login.salesforce.com".to_owned()),
    };
    let (_, header, claim) = ask(salesforce.clone());
    assert_eq!(header.get("kid"), None);
    assert_eq!(
        (claim["iss"].as_str(), claim["sub"].as_str(), claim["aud"].as_str()),
        (Some("3MVG9"), Some("ann@example.com"), Some("https://login.salesforce.com"))
    );

    std::fs::write(folder.path().join("key.pem"), "s3cret words").unwrap();
    let settings = client_credentials("http://127.0.0.1:1", |oauth2| oauth2.grant = HttpGrant::Jwt(salesforce));
    let error = opened_at(folder.path(), settings).err().unwrap();
    tells(&error, &["the private key of system `crm` is none", "-----BEGIN PRIVATE KEY-----"]);
    assert!(!error.to_string().contains("s3cret"), "{error}");
}

fn decoded(pem: &str) -> Vec<u8> {
    let lines: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    base64::engine::general_purpose::STANDARD.decode(lines).unwrap()
}

#[test]
fn a_key_in_a_cookie_and_hosts_that_belong_to_the_api() {
    let folder = root();
    let further = Server::start(|_| page_of(&people(2..3)));
    let next = format!("{}/page/2", further.address);
    let server = Server::start(move |_| said(200, json!({"items": people(0..2), "next": next}).to_string()));
    let auth = HttpAuth::Cookie { name: "session".to_owned(), key: "${file:secret}".to_owned() };
    let settings = HttpSettings { auth, ..listed(&server.address, HttpPage::Next(path("next"))) };
    tells(&opened_at(folder.path(), settings.clone()).unwrap().pull().unwrap_err(), &["was sent on to", "name it in `hosts`"]);
    assert!(further.asked().is_empty());
    let hosts = vec![further.address.trim_start_matches("http://").to_owned()];
    assert_eq!(opened_at(folder.path(), HttpSettings { hosts, ..settings }).unwrap().pull().unwrap().height(), 3);
    assert_eq!(server.asked()[0].headers["cookie"], "session=cl1ent+secret");
    assert_eq!(further.asked()[0].headers["cookie"], "session=cl1ent+secret");
}

#[test]
fn the_token_server_is_called_without_the_login_of_the_api_and_never_elsewhere() {
    let folder = root();
    let elsewhere = Server::start(|_| said(200, r#"{"access_token": "stolen"}"#));
    let other = elsewhere.address.clone();
    let server = Server::start(move |_| said(307, "").with("Location", format!("{other}/token")));
    let error = opened_at(folder.path(), client_credentials(&server.address, |_| {})).unwrap().pull().unwrap_err();
    tells(&error, &["was sent on to"]);
    assert!(elsewhere.asked().is_empty());
    let plain = client_credentials("http://crm.example.com", |_| {});
    let error = opened_at(folder.path(), HttpSettings { base_url: server.address.clone(), ..plain }).err().unwrap();
    tells(&error, &["`token_url` of system `crm` is plain `http:`"]);
}
