//! What is generated is in the tree, and is what would be generated now. `REGENERATE=1` writes it anew.

use std::fs;

#[test]
fn the_json_schemas_in_the_tree_are_the_ones_that_the_types_give() {
    let fresh =
        [("manifest", bpfkit_schemas::manifest::json_schema()), ("output", bpfkit_schemas::report::json_schema())];
    for (name, fresh) in fresh {
        let file = bpfkit_tests::root().join(format!("schemas/{name}.schema.json"));
        if std::env::var_os("REGENERATE").is_some() {
            fs::write(&file, &fresh).unwrap();
        }
        assert!(fs::read_to_string(&file).unwrap() == fresh, "{} is stale: run `make schema`", file.display());
    }
}
