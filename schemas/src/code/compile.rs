//! Codes of the compile stage: from sources to checked objects.

super::codes! {
    COMPILER_NOT_FOUND = "C001", Failed, "no usable clang was found",
"bpfkit compiles C with clang. It looks for `clang` and `clang-<version>` (newest first) on PATH,
and needs version 15 or newer with the BPF target.

Install one (`apt-get install clang-19`), or put it on PATH.";
}
