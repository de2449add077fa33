//! The pages show what the recipes here run.

/// Checks that each block of a page is in one of these files.
fn check(page: &str, files: &[&str], at_least: usize) {
    let blocks = page.split("```rust,ignore\n").skip(1);
    let blocks: Vec<_> = blocks
        .filter_map(|block| block.split("```").next())
        .collect();
    for block in &blocks {
        let is_run = files.iter().any(|file| file.contains(block));
        assert!(is_run, "not in a recipe:\n{block}");
    }
    assert!(blocks.len() >= at_least, "only {} blocks", blocks.len());
}

#[test]
fn propagation_has_the_code_of_the_recipes() {
    let files = [
        include_str!("grpc/calls.rs"),
        include_str!("grpc/deadline.rs"),
        include_str!("traceparent.rs"),
    ];
    check(include_str!("../../../docs/propagation.md"), &files, 8);
}

#[test]
fn web_services_has_the_code_of_the_recipes() {
    let files = [include_str!("traceparent.rs")];
    check(include_str!("../../../docs/web-services.md"), &files, 1);
}

#[test]
fn policies_has_the_code_of_row_level_security() {
    let files = [include_str!(
        "../../../examples/jobs/tests/row_level_security.rs"
    )];
    let page = include_str!("../../../docs/policies.md");
    let (_, section) = page.split_once("### Row-level security").unwrap();
    check(section.split("\n## ").next().unwrap(), &files, 1);
}

#[test]
fn testing_has_the_code_of_the_recipe_for_servers() {
    let files = [include_str!("test_subscriber.rs")];
    let page = include_str!("../../../docs/testing.md");
    let (_, section) = page.split_once("\n## Servers and subscribers\n").unwrap();
    check(section.split("\n## ").next().unwrap(), &files, 3);
}

#[test]
fn jobs_has_the_code_of_the_recipes() {
    let files = [
        include_str!("brokers/main.rs"),
        include_str!("brokers/amqp.rs"),
        include_str!("brokers/kafka.rs"),
        include_str!("brokers/redis.rs"),
        include_str!("../../../examples/jobs/memory.rs"),
        include_str!("../../../examples/jobs/nats.rs"),
    ];
    check(include_str!("../../../docs/jobs.md"), &files, 8);
}
