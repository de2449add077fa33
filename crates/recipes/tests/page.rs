//! The code on `docs/integrations.md`, on `docs/observability.md` and in the README that no doctest
//! runs is code of the recipes, or of a page whose doctests do.

use std::fs;
use std::path::Path;

/// Without indentation, which differs.
fn lines(text: &str) -> String {
    text.lines()
        .map(|line| format!("{}\n", line.trim()))
        .collect()
}

fn blocks(page: &str) -> impl Iterator<Item = String> {
    let blocks = page.split("```rust,ignore\n").skip(1);
    blocks.map(|block| lines(block.split("```").next().unwrap()))
}

#[test]
fn the_code_of_the_integrations_is_in_the_recipes() {
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

    let mut count = 0;
    for block in blocks(include_str!("../../../docs/integrations.md")) {
        assert!(recipes.contains(&block), "in no recipe:\n{block}");
        assert!(block.lines().count() <= 12, "long for a recipe:\n{block}");
        count += 1;
    }
    assert!(count >= 7, "only {count} blocks");
}

#[test]
fn the_code_of_the_page_on_logs_is_in_the_recipes() {
    // It has shorter lines in one.
    let squeezed = |text: &str| text.split_whitespace().collect::<String>();
    let recipes = [
        include_str!("fastrace.rs"),
        include_str!("json_subscriber.rs"),
        include_str!("metrics.rs"),
        include_str!("sentry.rs"),
        include_str!("slog.rs"),
    ];
    let recipes = recipes.map(squeezed);
    let mut count = 0;
    for block in blocks(include_str!("../../../docs/observability.md")) {
        let is_run = recipes
            .iter()
            .any(|recipe| recipe.contains(&squeezed(&block)));
        assert!(is_run, "in no recipe:\n{block}");
        assert!(block.lines().count() <= 12, "long for a recipe:\n{block}");
        count += 1;
    }
    assert!(count >= 7, "only {count} blocks");
}

#[test]
fn the_code_of_the_readme_is_on_the_page_for_web_services() {
    let page = lines(include_str!("../../../docs/web-services.md"));
    let mut count = 0;
    for block in blocks(include_str!("../../../README.md")) {
        assert!(page.contains(&block), "not on the page:\n{block}");
        count += 1;
    }
    assert_eq!(count, 1);
}
