//! `docs/integrations.md` has code of the recipes.

use std::fs;
use std::path::Path;

/// Without indentation, which differs.
fn lines(text: &str) -> String {
    text.lines()
        .map(|line| format!("{}\n", line.trim()))
        .collect()
}

#[test]
fn its_code_is_in_the_recipes() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["tests", "../recipes-python/src"].map(|folder| package.join(folder));
    let files = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap());
    let recipes: String = files
        .map(|entry| entry.unwrap().path())
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
        .map(|file| lines(&fs::read_to_string(file).unwrap()))
        .collect();

    let page = include_str!("../../../docs/integrations.md");
    let mut blocks = 0;
    for block in page.split("```rust,ignore\n").skip(1) {
        let block = lines(block.split("```").next().unwrap());
        assert!(recipes.contains(&block), "in no recipe:\n{block}");
        assert!(block.lines().count() <= 12, "long for a recipe:\n{block}");
        blocks += 1;
    }
    assert!(blocks >= 7, "only {blocks} blocks");
}
