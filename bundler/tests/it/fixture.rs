//! Sets small enough to read, and ways to spoil them.

use std::{
    collections::BTreeMap,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bpfkit_bundler::{Bundled, Credentials, Layout, Network, PackProgram, PackSet, Timeouts, bundle, hash::sha256};
use bpfkit_schemas::{
    bundle::ProgramOrigin,
    code::Code,
    diagnostic::Diagnose,
    names::{Digest, Platform},
    object::{Endian, MapDescriptor, ObjectDescriptor, ProgramDescriptor, ProgramType},
    reference::{Pinned, Place, Reference},
};
use tempfile::TempDir;

/// linux/amd64.
pub(crate) fn amd64() -> Platform {
    "linux/amd64".parse().unwrap()
}

/// linux/arm64.
pub(crate) fn arm64() -> Platform {
    "linux/arm64".parse().unwrap()
}

/// A network without credentials that gives up soon.
pub(crate) fn network() -> Network {
    network_with(Credentials::none())
}

/// A network with credentials that gives up soon.
pub(crate) fn network_with(credentials: Credentials) -> Network {
    let timeouts = Timeouts {
        connect: Duration::from_secs(2),
        read: Duration::from_millis(800),
        total: Duration::from_secs(5),
        pause: Duration::from_millis(5),
    };
    Network::with_timeouts(credentials, timeouts)
}

/// Bytes that begin as an ELF does, and what would be said of them.
pub(crate) fn object(seed: &str) -> (ObjectDescriptor, Vec<u8>) {
    let mut bytes = b"\x7fELF\x02\x01\x01\0".to_vec();
    bytes.extend(seed.bytes().cycle().take(3000));
    let map = |name: &str, internal| MapDescriptor {
        name: name.to_owned(),
        map_type: 1,
        kind: "hash".to_owned(),
        key_size: 4,
        value_size: 8,
        max_entries: 16,
        flags: 0,
        pinned_by_name: false,
        internal,
    };
    let descriptor = ObjectDescriptor {
        digest: sha256(&bytes),
        size: bytes.len() as u64,
        endian: Endian::Little,
        license: "GPL".to_owned(),
        core_relocations: 2,
        programs: vec![ProgramDescriptor {
            function: "main_prog".to_owned(),
            section: "xdp".to_owned(),
            kind: Some(ProgramType::Xdp),
            frags: false,
            instructions: 2,
        }],
        maps: vec![map("blocklist", false), map(".rodata", true)],
        globals: Vec::new(),
    };
    (descriptor, bytes)
}

/// One program whose object is made from `seed`.
pub(crate) fn program(name: &str, seed: &str) -> PackProgram {
    let (object, bytes) = object(seed);
    PackProgram {
        name: name.parse().unwrap(),
        entry: "main_prog".to_owned(),
        kind: ProgramType::Xdp,
        globals: BTreeMap::new(),
        origin: ProgramOrigin::Files { files: [("src/x.bpf.c".to_owned(), sha256(b"x"))].into() },
        object,
        bytes,
    }
}

/// The set `edge` with `guard` and `meter` for two platforms.
pub(crate) fn edge(version: &str) -> PackSet {
    let programs =
        |arch: &str| vec![program("guard", &format!("guard {arch}")), program("meter", &format!("meter {arch}"))];
    PackSet {
        set: "edge".parse().unwrap(),
        version: version.parse().unwrap(),
        repository: "registry.acme.example/bpf/edge".parse().unwrap(),
        vars: BTreeMap::new(),
        maps: Vec::new(),
        chains: Vec::new(),
        trust: None,
        manifest_yaml: b"version: 1\nname: edge\n".to_vec(),
        platforms: [(amd64(), programs("amd64")), (arm64(), programs("arm64"))].into(),
        created: 0,
        images: Vec::new(),
    }
}

/// A layout in a directory of its own, with [`edge`] in it.
pub(crate) struct Here {
    pub(crate) dir: TempDir,
    pub(crate) layout: Layout,
    pub(crate) bundled: Bundled,
}

/// Bundles `set` into a new layout.
pub(crate) fn lay_out(set: &PackSet) -> Here {
    let dir = TempDir::new().unwrap();
    let layout = Layout::create(dir.path().join("oci")).unwrap();
    let bundled = bundle(&layout, set).unwrap();
    Here { dir, layout, bundled }
}

/// `place` at `tag`.
pub(crate) fn at(place: &Place, tag: &str) -> Reference {
    Reference { place: place.clone(), tag: Some(tag.parse().unwrap()), digest: None }
}

/// The codes of an error.
pub(crate) fn codes(error: &impl Diagnose) -> Vec<Code> {
    let diagnostics = error.diagnose();
    assert!(!diagnostics.is_empty());
    for diagnostic in &diagnostics {
        assert!(!diagnostic.title.ends_with('.'), "{}", diagnostic.title);
        assert!(diagnostic.title.starts_with(|c: char| !c.is_uppercase()), "{}", diagnostic.title);
    }
    diagnostics.into_iter().map(|diagnostic| diagnostic.code).collect()
}

/// Reads a document of a layout.
pub(crate) fn document(layout: &Layout, digest: &Digest) -> serde_json::Value {
    serde_json::from_slice(&layout.blob(digest, 1 << 20).unwrap()).unwrap()
}

/// The text of a member as a digest.
pub(crate) fn digest_in(value: &serde_json::Value) -> Digest {
    value.as_str().unwrap().parse().unwrap()
}

/// A descriptor of `bytes`, stored in `layout`.
pub(crate) fn stored(layout: &Layout, media_type: &str, bytes: &[u8]) -> serde_json::Value {
    let digest = layout.put_blob(bytes).unwrap();
    serde_json::json!({"mediaType": media_type, "size": bytes.len(), "digest": digest.to_string()})
}

/// Changes a layout's `index.json` by hand, as any other tool could.
pub(crate) fn edit_index(layout: &Layout, edit: impl FnOnce(&mut Vec<serde_json::Value>)) {
    let path = layout.dir().join("index.json");
    let mut index: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    edit(index["manifests"].as_array_mut().unwrap());
    std::fs::write(path, index.to_string()).unwrap();
}

/// Lists `digest` in `index.json` without a tag.
pub(crate) fn list_untagged(layout: &Layout, digest: &Digest) {
    let entry = serde_json::to_value(layout.describe(digest).unwrap()).unwrap();
    edit_index(layout, |entries| entries.push(entry));
}

/// Makes `tag` mean `digest`, as another tool would: without saying what that is.
pub(crate) fn retag(layout: &Layout, tag: &str, digest: &Digest) {
    let mut entry = serde_json::to_value(layout.describe(digest).unwrap()).unwrap();
    let named = |entry: &serde_json::Value| entry["annotations"]["org.opencontainers.image.ref.name"] == tag;
    entry["annotations"]["org.opencontainers.image.ref.name"] = tag.into();
    edit_index(layout, |entries| {
        entries.retain(|entry| !named(entry));
        entries.push(entry);
    });
}

/// `layout` at `digest`.
pub(crate) fn pinned(layout: &Layout, digest: Digest) -> Pinned {
    Pinned { place: Place::Layout(layout.dir().to_owned()), digest }
}

/// Debian's docker-registry on loopback, for as long as this lives.
pub(crate) struct Registry {
    child: Child,
    pub(crate) port: u16,
    dirs: Vec<TempDir>,
}

impl Registry {
    /// Starts one that anybody may use.
    pub(crate) fn start() -> Self {
        Self::with("")
    }

    /// Starts one that only `ana` with `hunter2` may use.
    pub(crate) fn with_password() -> Self {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("htpasswd");
        // bcrypt of `hunter2`, cost 5.
        std::fs::write(&file, "ana:$2b$05$abcdefghijklmnopqrstuuoXuKqgZXLiJqzfmMXDDhSFPIvxV7t8.\n").unwrap();
        let mut registry = Self::with(&format!("auth: {{htpasswd: {{realm: x, path: {}}}}}\n", file.display()));
        registry.dirs.push(dir);
        registry
    }

    fn with(more: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let root = dir.path().join("data");
        let config = dir.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n{more}",
            root.display()
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("docker-registry (tools/setup installs it): {error}"));
        let since = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(since.elapsed() < Duration::from_secs(20), "docker-registry does not listen on {port}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, port, dirs: vec![dir] }
    }

    /// A repository in it.
    pub(crate) fn place(&self, path: &str) -> Place {
        Place::Registry(format!("127.0.0.1:{}/{path}", self.port).parse().unwrap())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A tool from Debian sid that `tools/setup` unpacks.
pub(crate) fn sid_tool(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/usr/bin").join(name);
    assert!(path.exists(), "{} is missing: run tools/setup", path.display());
    path
}

/// Runs a tool to its end; its stdout.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}\n{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}
