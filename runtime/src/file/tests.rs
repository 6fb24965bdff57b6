use std::sync::Arc;

use safetensors::SafeTensors;

use super::*;
use crate::dtype::DType;
use crate::model::Metadata;
use crate::plan::{Extent, Params, Port, Role, Step};
use crate::reference::Session;
use crate::tensor::Tensor;

fn slot(name: &str, role: Role, shape: &[usize]) -> Slot {
    let shape = shape.iter().map(|&factor| Extent { factor, symbol: None }).collect();
    Slot { name: name.into(), role, dtype: DType::F32, shape }
}

fn weight(data: &[f32]) -> Weight {
    Weight(Arc::new(data.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()))
}

/// y = (x + a) · b + c on x f32[N, 3]; b has the bytes of a, c the name of a.
fn model() -> Model {
    let free = |name: &str, role| {
        let mut slot = slot(name, role, &[1, 3]);
        slot.shape[0].symbol = Some(0);
        slot
    };
    let slots = vec![
        free("x", Role::Input),
        slot("a", Role::Weight, &[3]),
        slot("b", Role::Weight, &[3]),
        slot("a", Role::Weight, &[1]),
        free("sum", Role::Scratch),
        free("product", Role::Scratch),
        free("y", Role::Scratch),
    ];
    let step = |kernel: &str, inputs: [usize; 2], output| Step {
        kernel: kernel.into(),
        inputs: inputs.map(Some).to_vec(),
        outputs: vec![Some(output)],
        params: Params::new().with("ignored", 0.1),
        place: format!("node \"{kernel}\""),
    };
    let steps = vec![step("add.1", [0, 1], 4), step("mul.1", [4, 2], 5), step("add.1", [5, 3], 6)];
    let port = |name: &str, slot| vec![Port { name: name.into(), slot }];
    let plan =
        Plan { symbols: vec!["N".into()], slots, steps, inputs: port("x", 0), outputs: port("y", 6), updates: vec![] };
    let weights = [(1, weight(&[1.0, 2.0, 3.0])), (2, weight(&[1.0, 2.0, 3.0])), (3, weight(&[0.5]))];
    let metadata = Metadata::from([("hanc.producer".into(), "a test, \"quoted\"".into())]);
    Model::new(plan, weights.into()).unwrap().with_metadata(metadata)
}

/// The file of the model with its header changed.
fn changed(change: impl Fn(String) -> String) -> Vec<u8> {
    let bytes = model().to_bytes().unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = change(String::from_utf8(bytes[8..8 + length].to_vec()).unwrap());
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &bytes[8 + length..]].concat()
}

fn error(bytes: Vec<u8>) -> String {
    let error = Model::from_bytes(bytes).err().expect("it is refused");
    assert!(!error.help().is_empty());
    error.to_string()
}

#[test]
fn what_is_written_is_read() {
    let model = model();
    let bytes = model.to_bytes().unwrap();
    let read = Model::from_bytes(bytes.clone()).unwrap();
    assert_eq!(read.plan(), model.plan());
    assert_eq!(read.metadata(), model.metadata());
    let weights = |model: &Model| model.weights().values().map(|w| w.bytes().to_vec()).collect::<Vec<_>>();
    assert_eq!(weights(&read), weights(&model));
    assert_eq!(read.to_bytes().unwrap(), bytes);
}

#[test]
fn what_is_read_runs() {
    let model = Model::from_bytes(model().to_bytes().unwrap()).unwrap();
    let session = Session::new(model.plan(), model.weights()).unwrap();
    let x = Tensor::from_f32(&[1, 3], &[1.0, 1.0, 1.0]).unwrap();
    let y = session.run::<f32>(&[("x".into(), x)]).unwrap();
    assert_eq!(y[0].1.to_f64().unwrap(), [2.5, 6.5, 12.5]);
}

#[test]
fn another_reader_agrees() {
    let bytes = model().to_bytes().unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    // The third weight takes the place behind the padding; the second has the tensor of the first.
    let mut names = file.names();
    names.sort();
    assert_eq!(names, ["a", "a#1", "hanc.padding.1"]);
    assert_eq!(file.tensor("a#1").unwrap().data(), 0.5f32.to_le_bytes());
    for name in ["a", "a#1"] {
        let at = file.tensor(name).unwrap().data().as_ptr() as usize - bytes.as_ptr() as usize;
        assert_eq!(at % write::ALIGNMENT, 0, "{name} at {at}");
    }
}

#[test]
fn weights_are_used_where_they_are_mapped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.hanc");
    model().save(&path).unwrap();
    assert!(is_hanc(&path) && !is_hanc(folder.path()));
    let opened = Model::open(&path).unwrap();
    let at = |slot| opened.weights()[&slot].bytes().as_ptr() as usize;
    assert_eq!((at(1), at(1) % write::ALIGNMENT), (at(2), 0));
    assert_eq!(at(3) - at(1), write::ALIGNMENT);
    // Writing over the file that is mapped leaves the map whole.
    opened.save(&path).unwrap();
    assert_eq!(opened.to_bytes().unwrap(), std::fs::read(&path).unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(opened.save(folder.path()).is_err());
}

#[test]
fn every_flaw_of_a_header_is_named() {
    type Flaw = (&'static str, &'static str, &'static str);
    let flaws: &[Flaw] = &[
        (r#""F32""#, r#""F31""#, "tensor a: its dtype"),
        (r#""shape":[3]"#, r#""shape":[4]"#, "tensor a: f32[4] does not take 12 bytes"),
        (r#""shape":[3]"#, r#""shape":[-3]"#, "no list of sizes"),
        (r#""shape":[3]"#, r#""shape":[18446744073709551615,3]"#, "does not take 12"),
        (r#""data_offsets":[0,12]"#, r#""data_offsets":[4,16]"#, "does not follow"),
        (r#""data_offsets":[0,12]"#, r#""data_offsets":[12,0]"#, "outside of the file"),
        (r#""data_offsets":[0,12]"#, r#""data_offsets":[0,18446744073709551615]"#, "outside of the file"),
        (r#""data_offsets":[0,12]"#, r#""data_offsets":[0,12],"more":1"#, "more is not known"),
        (r#""a#1":"#, r#""a":"#, "stands twice"),
        (r#""hanc.format":"1""#, r#""hanc.format":"7""#, "format 7, this runtime reads format 1"),
        (r#""hanc.format":"1""#, r#""hanc.format":1"#, "hanc.format is no text"),
        (r#""hanc.plan""#, r#""hanc.plans""#, "without hanc.plan"),
        (r#""__metadata__""#, r#""__meta__""#, "without a plan"),
        (
            r#"kernel\":\"mul.1"#,
            r#"kernel\":\"mul.9"#,
            "\"mul.1\": the file needs the kernel mul.9, this runtime has mul.1",
        ),
        (r#"\"tensor\":\"a\""#, r#"\"tensor\":\"z\""#, "slots[1]: there is no tensor z"),
        (r#"\"tensor\":\"a\""#, r#"\"tensor\":\"a#1\""#, "slots[1]: tensor a#1 is f32[1]"),
        (r#",\"tensor\":\"a\""#, "", "slots[1]: a weight or state has to name its tensor"),
        (r#"\"role\":\"input\""#, r#"\"role\":\"in\""#, "hanc.plan.slots[0].role: in is not known"),
        (r#"[1,0]"#, r#"[1,0,0]"#, "hanc.plan.slots[0].shape[0]: a size is"),
        (r#"[1,0]"#, r#"[1,8]"#, "symbol 8"),
        (r#"\"symbols\""#, r#"\"steps\""#, "steps\" stands twice"),
        (r#"\"slot\":6"#, r#"\"slot\":7"#, "written by no step"),
        (r#"\"slot\":6"#, r#"\"slot\":-1"#, "hanc.plan.outputs[0].slot: -1 is no"),
    ];
    for (old, new, wanted) in flaws {
        let bytes = changed(|header| {
            assert!(header.contains(old), "{old} is not in {header}");
            header.replacen(old, new, 1)
        });
        let error = error(bytes);
        assert!(error.contains(wanted), "{old} → {new}: {error}");
    }
}

#[test]
fn other_files_and_parts_of_files_are_refused() {
    let whole = model().to_bytes().unwrap();
    for end in 0..whole.len() {
        assert!(Model::from_bytes(whole[..end].to_vec()).is_err(), "the first {end} bytes");
    }
    assert!(error([whole.clone(), vec![0; 4]].concat()).contains("4 bytes belong to no tensor"));
    assert!(error(b"\x08\x08\x12\x07pytorch".to_vec()).contains("no .hanc file"));
    assert!(error(vec![0xff; 64]).contains("no .hanc file"));
    let path = std::path::Path::new("no/such/file.hanc");
    assert!(Model::open(path).err().unwrap().to_string().starts_with("no/such/file.hanc: "));
}

#[test]
fn every_limit_is_kept() {
    type Lower = (&'static str, fn(&mut Limits));
    let lowered: &[Lower] = &[
        ("header_bytes", |l| l.header_bytes = 100),
        ("tensors", |l| l.tensors = 2),
        ("slots", |l| l.slots = 6),
        ("steps", |l| l.steps = 2),
        ("ports", |l| l.ports = 1),
        ("symbols", |l| l.symbols = 0),
        ("rank", |l| l.rank = 1),
        ("name_bytes", |l| l.name_bytes = 6),
        ("activation_bytes", |l| l.activation_bytes = 11),
        ("file_bytes", |l| l.file_bytes = 100),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.hanc");
    model().save(&path).unwrap();
    for (name, lower) in lowered {
        let mut limits = Limits::default();
        lower(&mut limits);
        let problem = Model::open_with(&path, &limits).err().map(|error| error.problem);
        assert!(matches!(&problem, Some(Problem::Limit(excess)) if excess.what == *name), "{name}: {problem:?}");
    }
    let depth = Limits { depth: 2, ..Limits::default() };
    assert!(Model::open_with(&path, &depth).err().unwrap().to_string().contains("nested too deep"));
}

#[test]
fn what_would_not_be_opened_is_not_written() {
    let (mut plan, weights) = (model().plan().clone(), model().weights().clone());
    plan.steps[0].place = "x".repeat(70_000);
    let model = Model::new(plan, weights).unwrap();
    assert!(matches!(model.to_bytes(), Err(SaveError::Limit(Excess { what: "name_bytes", .. }))));
}

/// y = x + w, as the documentation shows it.
fn example() -> Model {
    let free = |name: &str, role| {
        let mut slot = slot(name, role, &[1, 2]);
        slot.shape[0].symbol = Some(0);
        slot
    };
    let slots = vec![free("x", Role::Input), slot("w", Role::Weight, &[2]), free("y", Role::Scratch)];
    let (inputs, outputs) = (vec![Some(0), Some(1)], vec![Some(2)]);
    let steps = vec![Step { kernel: "add.1".into(), inputs, outputs, params: Params::new(), place: "sum".into() }];
    let port = |name: &str, slot| vec![Port { name: name.into(), slot }];
    let plan =
        Plan { symbols: vec!["N".into()], slots, steps, inputs: port("x", 0), outputs: port("y", 2), updates: vec![] };
    Model::new(plan, Weights::from([(1, weight(&[1.0, 2.0]))])).unwrap()
}

#[test]
fn the_example_of_the_documentation_is_true() {
    let text = include_str!("../../../docs/format.md");
    let bytes = example().to_bytes().unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&bytes[8..8 + length]).unwrap();
    let block = |kind: &str| text.split(kind).nth(1).and_then(|rest| rest.split("```").next()).expect("a block");
    assert_eq!(block("```text\n").trim(), header.trim());
    let plan = serde_json::from_str::<serde_json::Value>(block("```json\n")).unwrap();
    assert_eq!(plan, plan::encode(example().plan(), &[(1, "w".to_owned())].into()));
    let sizes = format!("a header of {length} bytes, {} bytes of data", bytes.len() - 8 - length);
    assert!(text.contains(&sizes), "{sizes}");
}
