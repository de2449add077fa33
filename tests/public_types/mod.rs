//! The public types of the crate, found in its sources, so that a table of them can tell when one
//! is missing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Checks that each public type is named in a table, as it can be after `use aiocontextvars::shim`,
/// but for those left out.
pub(crate) fn check<'a>(table: impl IntoIterator<Item = &'a str>, left_out: &[&str]) {
    let table: BTreeSet<String> = table.into_iter().map(path).collect();
    let mut types = declared();
    for name in left_out {
        assert!(types.remove(*name), "{name} is no public type");
    }
    if cfg!(all(
        feature = "async-std",
        feature = "ctrl-c",
        feature = "http-body",
        feature = "log",
        feature = "rayon",
        feature = "smol",
        feature = "tower",
        feature = "tracing-subscriber"
    )) {
        assert_eq!(table, types);
    } else {
        // The sources are there without their features, and the types are not.
        assert!(table.is_subset(&types), "{:?}", &table - &types);
    }
}

/// The paths of all public structs and enums, without the crate's name and `shim`, in which most of
/// them are.
fn declared() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut types = BTreeSet::new();
    for folder in ["src", "shims"] {
        declared_in(&root.join(folder), &mut types);
    }
    let mut public = BTreeSet::new();
    public_in(&root.join("src/lib.rs"), "", &types, &mut public);
    for module in listed(&root.join("shims/list.rs")) {
        let adapter = root.join("shims").join(&module).with_extension("rs");
        let adapter = fs::read_to_string(adapter).unwrap();
        let (_, inside) = adapter.split_once("\npub(crate) mod public {").unwrap();
        let inside = inside.lines().take_while(|line| *line != "}");
        public.extend(
            inside
                .filter_map(declaration)
                .map(|name| format!("{module}::{name}")),
        );
    }
    public
}

/// The modules of the runtimes whose targets have threads, each in a line of the list with its
/// variant, its feature and its targets.
fn listed(list: &Path) -> Vec<String> {
    let list = fs::read_to_string(list).unwrap();
    let is_entry = |line: &&str| {
        let mut words = line.split(' ').skip(2);
        let is_feature = words.next().is_some_and(|word| word.starts_with('"'));
        is_feature && !line.contains("all(target_family = \"wasm\"")
    };
    let entries = list.lines().map(str::trim_start).filter(is_entry);
    let modules: Vec<_> = entries.filter_map(|entry| words(entry).next()).collect();
    assert!(modules.contains(&"smol"), "{modules:?}");
    modules.into_iter().map(str::to_owned).collect()
}

/// A type's path as [`declared`] has it, from the words of a row.
fn path(row: &str) -> String {
    let row: String = row.split_whitespace().collect();
    let path = row.split('<').next().unwrap_or_default();
    let path = path.strip_prefix("aiocontextvars::").unwrap_or(path);
    path.strip_prefix("shim::").unwrap_or(path).to_owned()
}

/// Adds the names of the types that the files of a folder declare `pub`, whether they can be
/// reached or not.
fn declared_in(folder: &Path, types: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            declared_in(&path, types);
        } else {
            let source = fs::read_to_string(path).unwrap();
            types.extend(source.lines().filter_map(declaration).map(str::to_owned));
        }
    }
}

fn declaration(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let rest = ["pub struct ", "pub enum ", "pub union "]
        .iter()
        .find_map(|start| line.strip_prefix(start))?;
    words(rest).next()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let other = |c: char| !(c.is_alphanumeric() || c == '_');
    text.split(other).filter(|word| !word.is_empty())
}

/// Adds what can be reached through a public module: the types it declares or exports, and those of
/// its public modules.
fn public_in(file: &Path, module: &str, types: &BTreeSet<String>, public: &mut BTreeSet<String>) {
    let source = fs::read_to_string(file).unwrap();
    let here = |name: &str| format!("{module}{name}");
    public.extend(source.lines().filter_map(declaration).map(here));
    let exports = source.split("\npub use ").skip(1);
    let exported = exports.flat_map(|export| words(export.split(';').next().unwrap_or_default()));
    public.extend(exported.filter(|word| types.contains(*word)).map(here));

    let mut mounted = None;
    for line in source.lines() {
        if let Some(path) = line.strip_prefix("#[path = \"") {
            mounted = path.split('"').next().map(|path| file.with_file_name(path));
        } else if let Some(name) = line
            .strip_prefix("pub mod ")
            .and_then(|name| name.strip_suffix(';'))
        {
            let file = mounted.take().unwrap_or_else(|| module_file(file, name));
            let inside = if name == "shim" {
                module.to_owned()
            } else {
                format!("{module}{name}::")
            };
            public_in(&file, &inside, types, public);
        } else if line.starts_with("mod ") {
            mounted = None;
        }
    }
}

fn module_file(parent: &Path, name: &str) -> PathBuf {
    match parent.file_stem() {
        Some(stem) if stem != "lib" => parent.with_file_name(stem).join(name),
        _ => parent.with_file_name(name),
    }
    .with_extension("rs")
}
