//! House rules, checked against the sources: arrows only downward, and no world in words and core.

use std::fs;
use std::path::{Path, PathBuf};

/// The layers, the lowest first; modules of one line are one layer and may use each other.
const LAYERS: &[&[&str]] = &[
    &["value", "diagnostic", "error", "frame", "change"],
    &["job"],
    &["reconcile"],
    &["report", "schedule"],
    &["disk"],
    &["systems", "state", "mail"],
    &["delivery"],
    &["run", "project", "explain", "review", "decisions", "undo", "diff"],
    &["demo", "serve"],
];

/// Edges are of one layer, and still never use each other.
const EDGES: &[&str] = &["systems", "state", "mail"];

/// Layers up to here are pure.
const PURE: usize = 3;

/// What a pure module never says. Tests may.
const WORLD: &[&str] =
    &["std::fs", "std::env", "std::net", "std::process", "std::thread", "Timestamp::now", "SystemTime", "Instant::now", "Zoned::now", "crate::disk"];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the sources can be listed") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

/// The code of a file without its comments and without its tests.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn used_modules(code: &str) -> Vec<String> {
    code.match_indices("crate::")
        .map(|(at, word)| code[at + word.len()..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>())
        .filter(|module| !module.is_empty())
        .collect()
}

#[test]
fn arrows_only_point_downward() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for path in sources(&root) {
        let relative = path.strip_prefix(&root).expect("below src");
        let first = relative.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
        let module = first.strip_suffix(".rs").unwrap_or(&first).to_owned();
        if ["lib", "main", "cli"].contains(&module.as_str()) {
            continue;
        }
        let own = layer(&module).unwrap_or_else(|| panic!("{module} is in no layer: say where it belongs"));
        let text = fs::read_to_string(&path).expect("a source");
        let is_test_file = path.file_stem().is_some_and(|stem| stem == "tests" || stem == "sample");
        for used in used_modules(&code(&text)) {
            let Some(theirs) = layer(&used) else {
                wrong.push(format!("{}: uses `{used}`, which is in no layer", relative.display()));
                continue;
            };
            let sideways = theirs == own && used != module && EDGES.contains(&used.as_str());
            if theirs > own || sideways {
                wrong.push(format!("{}: uses `{used}`", relative.display()));
            }
        }
        if own <= PURE && !is_test_file {
            wrong.extend(WORLD.iter().filter(|word| code(&text).contains(**word)).map(|word| format!("{}: `{word}` in a pure module", relative.display())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
