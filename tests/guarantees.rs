//! The tests that the pages under `docs` name exist, and the code of pages is tested.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The links of a page: text and target.
fn links(page: &str) -> Vec<(&str, &str)> {
    let parts = page.split("](").collect::<Vec<_>>();
    let pairs = parts.windows(2).filter_map(|pair| {
        let (_, text) = pair[0].rsplit_once('[')?;
        let (target, _) = pair[1].split_once(')')?;
        Some((text, target))
    });
    pairs.collect()
}

fn is_there(name: &str, source: &str) -> bool {
    let starts = [format!("fn {name}("), format!("fn {name}<")];
    starts.iter().any(|start| source.contains(start))
}

/// Whether a page has a section that is linked to by this anchor.
fn has_section(page: &str, anchor: &str) -> bool {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let slug = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let words = words.replace(' ', "-");
        words.replace(|c: char| !c.is_alphanumeric() && c != '-', "")
    };
    headings.map(slug).any(|slug| slug == anchor)
}

/// How many tests a page links to. They all exist, and so do the files and sections that it links
/// to.
fn named_by(page: &str) -> usize {
    let docs = root().join("docs");
    let page = read(&docs.join(page));
    let mut named = 0;
    for (text, target) in links(&page) {
        if let Some(anchor) = target.strip_prefix('#') {
            assert!(has_section(&page, anchor), "there is no {anchor}");
            continue;
        }
        // That sections of other pages exist is up to `ci/links.py`.
        let (target, _) = target.split_once('#').unwrap_or((target, ""));
        let source = read(&docs.join(target));
        // A test is in code font, and so is a file, whose path ends in what it is called.
        let name = text.trim_matches('`');
        let is_test = text.starts_with('`') && target.ends_with(".rs") && !target.contains(name);
        if is_test {
            assert!(is_there(name, &source), "{target} has no {name}");
            named += 1;
        }
    }
    named
}

#[test]
fn the_tests_that_are_linked_to_exist() {
    let named = named_by("guarantees.md");
    assert!(named > 60, "only {named} tests are named");
    for page in [
        "integrations.md",
        "observability.md",
        "policies.md",
        "testing.md",
    ] {
        assert!(named_by(page) > 0, "{page} names none");
    }
}

/// The README is shown on its own on a package's page, where relative links lead nowhere.
#[test]
fn the_readme_links_to_files_that_exist_by_their_whole_addresses() {
    let page = read(&root().join("README.md"));
    let repository = env!("CARGO_PKG_REPOSITORY");
    let raw = repository.replace("github.com", "raw.githubusercontent.com");
    let mut files = 0;
    for (_, target) in links(&page) {
        let path = target
            .strip_prefix(repository)
            .map(|path| path.strip_prefix("/blob/main/"));
        let path = path.or_else(|| {
            target
                .strip_prefix(&*raw)
                .map(|path| path.strip_prefix("/main/"))
        });
        match path {
            Some(path) => {
                let path = path.unwrap_or_else(|| panic!("{target} is on no branch"));
                assert!(root().join(path).exists(), "there is no {path}");
                files += 1;
            }
            None => assert!(target.starts_with("https://"), "{target} is relative"),
        }
    }
    assert!(files > 5, "only {files} files are linked to");
}

/// All files under a folder.
fn sources(folder: PathBuf) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => sources(path),
            false => vec![path],
        })
        .collect()
}

#[test]
fn each_row_about_sharing_is_a_test() {
    let mut tests = sources(root().join("tests"));
    tests.extend(sources(root().join("crates/conformance/src")));
    // Not this one, in which names are looked for.
    let is_source = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    tests.retain(|path| is_source(path) && !path.ends_with(file!()));
    let all: String = tests.iter().map(|path| read(path)).collect();
    let page = read(&root().join("docs/sharing.md"));
    let rows = page.lines().filter(|line| line.starts_with('|'));
    let rows = rows.filter(|line| !line.starts_with("|---") && !line.ends_with(" test |"));
    let mut named = BTreeSet::new();
    for row in rows {
        let (_, last) = row.trim_end_matches([' ', '|']).rsplit_once("| ").unwrap();
        let names: Vec<_> = last.split(", ").collect();
        for name in &names {
            let name = name.trim_matches('`');
            assert!(is_there(name, &all), "there is no {name}");
            named.insert(name.to_owned());
        }
    }
    // And each such test has a row.
    for (start, _) in all.match_indices("fn ta_18_") {
        let name = &all[start + "fn ".len()..];
        let name = name
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .next();
        let name = name.unwrap();
        // One over all of them.
        if name != "ta_18_what_shares_and_what_isolates" {
            assert!(named.contains(name), "no row names {name}");
        }
    }
    assert!(named.len() > 30, "only {} tests are named", named.len());
}

/// The id that a test's name starts with, such as `ta_05`.
fn id(name: &str) -> Option<&str> {
    let (kind, rest) = name.split_once('_')?;
    let number = rest.get(..2)?;
    let kinds = [
        "cv", "tk", "cx", "cc", "rn", "hm", "ta", "tg", "gc", "cs", "hd", "fu", "ru", "th", "r",
        "co",
    ];
    let is_id = kinds.contains(&kind) && number.chars().all(|c| c.is_ascii_digit());
    is_id.then(|| &name[..kind.len() + 3])
}

#[test]
fn the_catalogue_has_what_is_tested() {
    let mut tests = sources(root().join("tests"));
    tests.extend(sources(root().join("crates/conformance/src")));
    tests.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let mut tested = BTreeSet::new();
    for source in tests.iter().map(|path| read(path)) {
        for function in source.split("fn ").skip(1) {
            let name = function
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .unwrap();
            if name.starts_with("table_") {
                tested.insert(name.to_owned());
            } else if let Some(id) = id(name) {
                tested.insert(id.to_owned());
            }
        }
    }
    let page = read(&root().join("docs/semantics.md"));
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.map(|row| row.split('`').next().unwrap().to_owned());
    let listed: BTreeSet<_> = rows.filter(|row| row != "exit_").collect();
    assert_eq!(listed, tested);
    assert!(listed.len() > 100, "only {} behaviours", listed.len());
}

#[test]
fn the_code_about_executors_is_a_test() {
    let page = read(&root().join("docs/wrap-your-own-executor.md"));
    let blocks = page.split("```rust\n").skip(1);
    let blocks = blocks.map(|block| block.split_once("\n```").expect("a block ends").0);
    let code: Vec<_> = blocks.collect();
    let test = read(&root().join("tests/conformance/main_loop.rs"));
    let (_, test) = test.split_once("\n\n").expect("the module has a comment");
    assert_eq!(code.len(), 4);
    assert_eq!(code.join("\n\n"), test.trim_end());
}
