//! The tests that `docs/guarantees.md` names exist.

use std::fs;
use std::path::Path;

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

#[test]
fn the_tests_that_are_named_exist() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let page = fs::read_to_string(docs.join("guarantees.md")).unwrap();
    let mut named = 0;
    for (text, target) in links(&page) {
        let path = docs.join(target);
        let source = fs::read_to_string(&path);
        let source = source.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = text.trim_matches('`');
        let is_file = target.contains(name) || name == "tested";
        if !is_file {
            let is_there = [format!("fn {name}("), format!("fn {name}<")];
            assert!(
                is_there.iter().any(|start| source.contains(start)),
                "{target} has no {name}"
            );
            named += 1;
        }
    }
    assert!(named > 60, "only {named} tests are named");
}
