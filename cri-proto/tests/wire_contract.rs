//! Holds `proto/` to the published wire contract: the descriptors in the Go modules of CRI and of
//! containerd's API, which the program in `tests/descriptors` prints.
//!
//! A descriptor set is flattened to facts, one text per element by its full name, so that all
//! differences can be listed at once. Comments and the order of elements are no part of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    MethodDescriptorProto,
};

const CRATE_DIR: &str = env!("CARGO_MANIFEST_DIR");

/// What an element is, by its full name, such as `runtime.v1.KeyValue.value`.
type Facts = BTreeMap<String, String>;

static PUBLISHED: LazyLock<FileDescriptorSet> = LazyLock::new(fetch_published);

#[test]
fn cri_is_the_published_contract_in_both_directions() {
    let ours = facts_of(&compile("runtime/v1.proto"), "runtime.v1");
    let published = facts_of(&PUBLISHED, "runtime.v1");
    // Guards against comparing with nothing.
    assert!(published.contains_key("runtime.v1.RuntimeService/RunPodSandbox"));
    let mut differences = diff_known(&ours, &published);
    differences.extend(diff_missing(&ours, &published));
    assert_none(&differences);
}

#[test]
fn containerd_elements_agree_with_the_published_ones() {
    let files = ["content", "events", "images", "service", "types"];
    let mut differences = Vec::new();
    for file in files {
        let ours = compile(&format!("containerd/{file}.proto"));
        differences.extend(diff_known(
            &facts_of(&ours, "containerd"),
            &facts_of(&PUBLISHED, "containerd"),
        ));
    }
    assert_none(&differences);
}

#[test]
fn every_kind_of_difference_is_noticed() {
    const M: &str = "message M { string a = 1; }";
    const E: &str = "enum E { ZERO = 0; ONE = 1; }";
    const S: &str = "service S { rpc Call(M) returns (M); }";
    let reference = facts_of_source(&[M, E, S]);
    let cases = [
        ("number", ["message M { string a = 2; }", E, S]),
        ("type", ["message M { bytes a = 1; }", E, S]),
        ("type name", ["message M { E a = 1; }", E, S]),
        ("label", ["message M { repeated string a = 1; }", E, S]),
        ("presence", ["message M { optional string a = 1; }", E, S]),
        ("oneof", ["message M { oneof o { string a = 1; } }", E, S]),
        ("field name", ["message M { string b = 1; }", E, S]),
        ("enum value", [M, "enum E { ZERO = 0; ONE = 2; }", S]),
        ("streaming request", [M, E, "service S { rpc Call(stream M) returns (M); }"]),
        ("streaming answer", [M, E, "service S { rpc Call(M) returns (stream M); }"]),
    ];
    for (kind, changed) in cases {
        let differences = diff_known(&facts_of_source(&changed), &reference);
        assert_eq!(differences.len(), 1, "changed {kind}: {differences:?}");
    }
    assert_eq!(diff_known(&reference, &reference), Vec::<String>::new());
    assert_eq!(diff_missing(&reference, &reference), Vec::<String>::new());
    assert_eq!(
        diff_missing(&facts_of_source(&[M, E, "service S {}"]), &reference),
        ["p.S/Call: missing; published as: call with .p.M, answered by .p.M"]
    );
}

/// The elements of `ours` that `published` lacks or describes differently; empty when all agree.
fn diff_known(ours: &Facts, published: &Facts) -> Vec<String> {
    let mut differences = Vec::new();
    for (name, fact) in ours {
        match published.get(name) {
            None => differences.push(format!("{name}: not published; ours: {fact}")),
            Some(other) if other != fact => {
                differences.push(format!("{name}: published as: {other}; ours: {fact}"));
            }
            Some(_) => {}
        }
    }
    differences
}

/// The elements of `published` that `ours` lacks; empty when nothing is missing.
fn diff_missing(ours: &Facts, published: &Facts) -> Vec<String> {
    let missing = published.iter().filter(|(name, _)| !ours.contains_key(*name));
    missing.map(|(name, fact)| format!("{name}: missing; published as: {fact}")).collect()
}

fn assert_none(differences: &[String]) {
    let count = differences.len();
    assert!(count == 0, "{count} differences to the contract:\n{}", differences.join("\n"));
}

fn compile(file: &str) -> FileDescriptorSet {
    protox::compile([file], [Path::new(CRATE_DIR).join("proto")]).expect("our proto compiles")
}

fn facts_of_source(elements: &[&str]) -> Facts {
    let dir = tempfile::tempdir().expect("temporary directory");
    let text = format!("syntax = \"proto3\"; package p; {}", elements.concat());
    std::fs::write(dir.path().join("p.proto"), text).expect("proto is written");
    let set = protox::compile(["p.proto"], [dir.path()]).expect("test proto compiles");
    facts_of(&set, "p")
}

/// Runs the Go program. Go fetches the pinned modules once and caches them and the build.
fn fetch_published() -> FileDescriptorSet {
    let output = Command::new("go")
        .args(["run", "."])
        .current_dir(Path::new(CRATE_DIR).join("tests/descriptors"))
        .env("GOFLAGS", "-mod=readonly -buildvcs=false")
        .env("GOWORK", "off")
        .env("CGO_ENABLED", "0")
        .output()
        .unwrap_or_else(|error| {
            panic!(
                "cannot start `go`: {error}. This test compares with the published Go modules: \
                 install Go (the release in tests/descriptors/go.mod or newer), put it on PATH"
            )
        });
    assert!(
        output.status.success(),
        "`go run .` in tests/descriptors failed; with an empty module cache it needs the network \
         once (`go mod download` there):\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    FileDescriptorSet::decode(&*output.stdout).expect("the program prints a FileDescriptorSet")
}

/// Facts of all files whose package is `package` or lies below it.
fn facts_of(set: &FileDescriptorSet, package: &str) -> Facts {
    let mut facts = Facts::new();
    for file in &set.file {
        let scope = file.package();
        let below = scope.strip_prefix(package).is_some_and(|rest| rest.starts_with('.'));
        if scope != package && !below {
            continue;
        }
        for message in &file.message_type {
            add_message(&mut facts, scope, message);
        }
        for enumeration in &file.enum_type {
            add_enum(&mut facts, scope, enumeration);
        }
        for service in &file.service {
            let name = format!("{scope}.{}", service.name());
            for method in &service.method {
                facts.insert(format!("{name}/{}", method.name()), describe_method(method));
            }
            facts.insert(name, "service".into());
        }
    }
    facts
}

fn add_message(facts: &mut Facts, scope: &str, message: &DescriptorProto) {
    let name = format!("{scope}.{}", message.name());
    for field in &message.field {
        facts.insert(format!("{name}.{}", field.name()), describe_field(message, field));
    }
    for nested in &message.nested_type {
        add_message(facts, &name, nested);
    }
    for enumeration in &message.enum_type {
        add_enum(facts, &name, enumeration);
    }
    let is_map_entry = message.options.as_ref().is_some_and(|options| options.map_entry());
    facts.insert(name, if is_map_entry { "map entry" } else { "message" }.into());
}

fn add_enum(facts: &mut Facts, scope: &str, enumeration: &EnumDescriptorProto) {
    let name = format!("{scope}.{}", enumeration.name());
    for value in &enumeration.value {
        facts.insert(format!("{name}.{}", value.name()), format!("value {}", value.number()));
    }
    facts.insert(name, "enum".into());
}

fn describe_field(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let label = match field.label() {
        Label::Optional if field.proto3_optional() => "explicitly optional",
        Label::Optional => "singular",
        Label::Required => "required",
        Label::Repeated => "repeated",
    };
    let kind = match field.r#type() {
        Type::Message | Type::Enum | Type::Group => field.type_name().to_owned(),
        scalar => scalar.as_str_name().to_owned(),
    };
    let packing = field.options.as_ref().and_then(|options| options.packed);
    let packing = packing.map_or(String::new(), |packed| format!(", packed = {packed}"));
    let oneof = field.oneof_index.map_or(String::new(), |index| {
        let index = usize::try_from(index).expect("index of a oneof is not negative");
        format!(", in oneof {}", message.oneof_decl[index].name())
    });
    format!("field {}, {label} {kind}{packing}{oneof}", field.number())
}

fn describe_method(method: &MethodDescriptorProto) -> String {
    let part = |is_stream: bool, name: &str| {
        let stream = if is_stream { "stream " } else { "" };
        format!("{stream}{name}")
    };
    format!(
        "call with {}, answered by {}",
        part(method.client_streaming(), method.input_type()),
        part(method.server_streaming(), method.output_type())
    )
}
