//! Parts of tensors, elements moved by indices, and lines.

use crate::grad::testing::Check;
use crate::ir::{Attr, Constant};
use hanc_runtime::DType;

#[test]
fn slices() {
    let slice = |starts: &[i64], ends: &[i64]| {
        let count = [starts.len()];
        Check::new("Slice", 13).x(&[4, 5]).integers(&count, starts).integers(&count, ends)
    };
    slice(&[1, 0], &[3, 2]).run();
    slice(&[-2], &[i64::MAX]).run();
    slice(&[1], &[-1]).integers(&[1], &[-1]).run();
    slice(&[0], &[5]).integers(&[1], &[1]).integers(&[1], &[2]).run();
    slice(&[-1, 3], &[i64::MIN, 0]).integers(&[2], &[0, 1]).integers(&[2], &[-1, -2]).run();
    Check::new("Slice", 1).x(&[4, 5]).ints("starts", &[1]).ints("ends", &[9]).ints("axes", &[1]).run();
}

#[test]
fn borders() {
    let pad =
        |mode: &str, pads: &[i64]| Check::new("Pad", 19).x(&[3, 4]).integers(&[pads.len()], pads).text("mode", mode);
    for mode in ["constant", "edge", "reflect", "wrap"] {
        pad(mode, &[1, 2, 0, 1]).run();
        pad(mode, &[0, 2, 0, 0]).run();
    }
    pad("constant", &[-1, 2, 0, -2]).run();
    pad("constant", &[1, 2, 0, 1]).x(&[]).run();
    pad("constant", &[1, 2]).none().integers(&[1], &[-1]).run();
    Check::new("Pad", 2).x(&[3, 4]).ints("pads", &[0, 1, 2, 0]).float("value", 0.5).run();
    Check::new("CenterCropPad", 18).x(&[3, 6]).integers(&[2], &[5, 3]).run();
}

#[test]
fn elements_by_indices() {
    for version in [1, 11, 13] {
        Check::new("Gather", version).x(&[3, 4]).integers(&[2, 2], &[0, 2, 2, 1]).run();
    }
    Check::new("Gather", 13).int("axis", 1).x(&[2, 3, 2]).integers(&[4], &[0, -1, 1, 0]).run();
    Check::new("Gather", 13).int("axis", -1).x(&[2, 3]).integers(&[], &[-1]).run();
    Check::new("Gather", 13).int("axis", 1).x(&[2, 3, 2]).integers(&[1], &[1]).run();
    Check::new("GatherElements", 13).int("axis", 1).x(&[2, 3]).integers(&[2, 4], &[0, 0, 2, -1, 1, 2, 2, 2]).run();
    Check::new("GatherND", 13).x(&[2, 3, 2]).integers(&[3, 2], &[0, 1, 1, 2, 0, 1]).run();
    Check::new("GatherND", 12).int("batch_dims", 1).x(&[2, 3, 2]).integers(&[2, 1], &[1, 2]).run();
    let nested = Check::new("GatherND", 13).int("batch_dims", 1).x(&[2, 3, 2]);
    nested.integers(&[2, 2, 1], &[1, 2, 0, 0]).run();
}

#[test]
fn elements_put_in_places() {
    for (op, version) in [("Scatter", 9), ("ScatterElements", 13), ("ScatterElements", 18)] {
        Check::new(op, version).int("axis", 1).x(&[2, 4]).integers(&[2, 2], &[0, 2, 3, 1]).x(&[2, 2]).run();
    }
    let adding = Check::new("ScatterElements", 18).text("reduction", "add").x(&[3, 2]);
    adding.integers(&[2, 2], &[0, 2, 0, 1]).x(&[2, 2]).run();
    Check::new("ScatterND", 13).x(&[4, 2]).integers(&[2, 1], &[3, 0]).x(&[2, 2]).run();
    let adding = Check::new("ScatterND", 18).text("reduction", "add").x(&[4, 2]);
    adding.integers(&[2, 1], &[3, 3]).x(&[2, 2]).run();
}

#[test]
fn elements_in_another_order() {
    for mode in ["DCR", "CRD"] {
        Check::new("DepthToSpace", 13).int("blocksize", 2).text("mode", mode).x(&[2, 8, 2, 3]).run();
    }
    Check::new("SpaceToDepth", 13).int("blocksize", 2).x(&[2, 2, 4, 6]).run();
    Check::new("SpaceToDepth", 28).int("blocksize", 2).text("mode", "CRD").x(&[1, 2, 4, 2]).run();
    Check::new("ReverseSequence", 10).x(&[4, 2, 2]).integers(&[2], &[3, 2]).run();
    for upper in [0, 1] {
        Check::new("Trilu", 14).int("upper", upper).x(&[2, 3, 4]).run();
    }
    Check::new("Trilu", 14).x(&[3, 3]).integers(&[], &[1]).run();
    let keep = || Constant::new(DType::Bool, &[3], vec![1u8, 0, 1]);
    Check::new("Compress", 11).int("axis", 1).x(&[2, 3]).constant(keep()).run();
    Check::new("Compress", 11).x(&[2, 3]).constant(keep()).run();
}

#[test]
fn marks_and_features() {
    Check::new("OneHot", 11).integers(&[3], &[0, 2, 1]).integers(&[], &[3]).x(&[2]).run();
    let scaler = Check::of("ai.onnx.ml", "Scaler", 1).x(&[2, 3]).attr("scale", Attr::Floats(vec![0.5, 2.0, 3.0]));
    scaler.attr("offset", Attr::Floats(vec![1.0])).run();
    Check::of("ai.onnx.ml", "ArrayFeatureExtractor", 1).x(&[2, 3]).integers(&[2], &[2, 0]).run();
}

#[test]
fn lines() {
    for op in ["Softmax", "LogSoftmax"] {
        for axis in [0, 1, -1] {
            Check::new(op, 13).int("axis", axis).x(&[2, 3, 2]).run();
            Check::new(op, 11).int("axis", axis).x(&[2, 3, 2]).run();
        }
        Check::new(op, 1).x(&[2, 3]).run();
    }
    for (exclusive, reverse) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        for (op, version) in [("CumSum", 14), ("CumProd", 26)] {
            let lines = Check::new(op, version).int("exclusive", exclusive).int("reverse", reverse);
            lines.within(&[2, 4], 0.3, 1.8).integers(&[], &[1]).run();
        }
    }
    Check::new("TopK", 11).x(&[2, 5]).integers(&[1], &[2]).results(2).run();
    Check::new("TopK", 11).int("axis", 0).int("largest", 0).x(&[4, 2]).integers(&[1], &[2]).results(2).run();
    Check::new("TopK", 1).int("k", 2).x(&[2, 4]).results(2).run();
    Check::new("Dropout", 7).x(&[2, 3]).run();
    Check::new("Dropout", 13).x(&[2, 3]).run();
}

#[test]
fn sizes() {
    let floats = |list: &[f64]| Constant::of_reals(DType::F32, &[list.len()], list).unwrap();
    for mode in ["nearest", "linear", "cubic"] {
        for place in ["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"] {
            let resize = || Check::new("Resize", 13).text("mode", mode).text("coordinate_transformation_mode", place);
            resize().x(&[1, 2, 3, 4]).none().constant(floats(&[1.0, 1.0, 2.0, 1.5])).run();
            resize().x(&[1, 1, 5, 4]).none().none().integers(&[4], &[1, 1, 3, 7]).run();
        }
        let crop = Check::new("Resize", 13).text("mode", mode);
        let crop = crop.text("coordinate_transformation_mode", "tf_crop_and_resize").float("extrapolation_value", 3.0);
        let roi = floats(&[0.0, 0.0, 0.2, -0.3, 1.0, 1.0, 0.9, 1.2]);
        crop.x(&[1, 1, 4, 4]).constant(roi).constant(floats(&[1.0, 1.0, 2.0, 1.5])).run();
        if mode != "cubic" {
            Check::new("Upsample", 9).text("mode", mode).x(&[1, 1, 3, 2]).constant(floats(&[1., 1., 2., 3.])).run();
            let old = Check::new("Upsample", 7).text("mode", mode).x(&[1, 1, 3, 2]);
            old.attr("scales", Attr::Floats(vec![1.0, 1.0, 2.0, 3.0])).run();
            Check::new("Resize", 10).text("mode", mode).x(&[1, 1, 3, 2]).constant(floats(&[1., 1., 2., 2.])).run();
        }
    }
    let smooth = Check::new("Resize", 18).text("mode", "linear").int("antialias", 1);
    smooth.x(&[1, 1, 6, 5]).none().constant(floats(&[1.0, 1.0, 0.5, 0.6])).run();
}
