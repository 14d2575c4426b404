use super::sample::*;
use super::*;
use crate::job::ReportWhen;

#[test]
fn write_samples() {
    let Ok(folder) = std::env::var("TIEOUT_SAMPLES") else { return };
    for (name, report) in [("rich", rich()), ("quiet", quiet()), ("stopped", stopped()), ("hostile", hostile())] {
        let write = |extension: &str, bytes: &[u8]| std::fs::write(format!("{folder}/{name}.{extension}"), bytes).expect("writes");
        write("html", html::render(&report).as_bytes());
        write("txt", text::render(&report, 100).as_bytes());
        write("72.txt", text::render(&report, 72).as_bytes());
        write("summary.txt", text::summary(&report).as_bytes());
        write("json", json::render(&report).as_bytes());
        write("eml", &mail::compose(&report, "tieout@example.com", &["cfo@example.com".to_owned()]).expect("composes"));
    }
    let _ = mail::is_due(&rich(), ReportWhen::Always);
}
