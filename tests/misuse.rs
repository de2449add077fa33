//! Uses that must not compile: each file in `tests/misuse` is one, and says what it misuses.
//!
//! The `.stderr` files are the words of one compiler, [`COMPILER`], with all features on. With that compiler each
//! message is compared word for word; with any other it is only checked that every case is refused for the same error.
//! To write the messages anew:
//!
//! ```sh
//! TRYBUILD=overwrite cargo test --all-features --test misuse
//! ```
//!
//! Tools that instrument programs have nothing to find in what does not compile, and would have all dependencies
//! compiled a second time: under them the test does nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// The compiler that wrote the `.stderr` files.
const COMPILER: &str = "rustc 1.95.0 ";

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/misuse");
const COPIES: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/misuse");

#[test]
fn misuse_does_not_compile() {
    if is_instrumented() {
        println!("skipped: this build is instrumented");
    } else if is_committed_compiler() {
        trybuild::TestCases::new().compile_fail("tests/misuse/*.rs");
    } else {
        refused_for_the_same_errors();
    }
}

/// Compiles copies of the cases and writes this compiler's messages beside them.
#[test]
#[ignore = "run by `misuse_does_not_compile`, in an environment of its own"]
fn write_messages_of_copies() {
    trybuild::TestCases::new().compile_fail(format!("{COPIES}/*.rs"));
}

fn refused_for_the_same_errors() {
    fs::remove_dir_all(COPIES).unwrap_or_default();
    fs::create_dir_all(COPIES).unwrap();
    for file in fs::read_dir(CASES).unwrap() {
        let file = file.unwrap();
        if Path::new(&file.file_name()).extension() == Some("rs".as_ref()) {
            fs::copy(file.path(), Path::new(COPIES).join(file.file_name())).unwrap();
        }
    }
    let written = Command::new(env::current_exe().unwrap())
        .args(["--exact", "write_messages_of_copies", "--ignored"])
        .env("TRYBUILD", "overwrite")
        .output()
        .unwrap();
    // A case that compiles has failed there.
    let output = String::from_utf8_lossy(&written.stdout);
    assert!(written.status.success(), "{output}");
    assert_eq!(errors(COPIES), errors(CASES));
}

/// The codes of the errors in each `.stderr` file of a directory; an error without a code is an empty one.
fn errors(directory: &str) -> BTreeMap<String, Vec<String>> {
    let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap());
    let name = |file: &fs::DirEntry| file.file_name().into_string().unwrap();
    files
        .filter(|file| name(file).ends_with(".stderr"))
        .map(|file| {
            let text = fs::read_to_string(file.path()).unwrap();
            let errors = text.lines().filter_map(|line| line.strip_prefix("error"));
            let codes = errors.map(|error| error.split(':').next().unwrap_or_default().to_owned());
            (name(&file), codes.collect())
        })
        .collect()
}

fn is_committed_compiler() -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().unwrap();
    version.stdout.starts_with(COMPILER.as_bytes())
}

fn is_instrumented() -> bool {
    let mentions =
        |variable: &str, word: &str| env::var(variable).is_ok_and(|value| value.contains(word));
    // Where cargo takes flags for the compiler from, and what valgrind puts into the processes it watches.
    ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"]
        .iter()
        .any(|flags| mentions(flags, "sanitizer") || mentions(flags, "instrument-coverage"))
        || mentions("LD_PRELOAD", "valgrind")
        || cfg!(miri)
}
