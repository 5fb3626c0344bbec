//! Codes of the manifest stage: reading and checking the YAML.

super::codes! {
    NOT_YAML = "M001", Usage, "the manifest is not YAML",
"The file can't be read as YAML 1.2: a tab where spaces belong, a quote that is not closed, bad
indentation. The message points at the place where the reader gave up.";
}
