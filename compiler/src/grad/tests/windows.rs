//! Convolutions and pools.

use crate::grad::testing::Check;
use crate::op::HAN_DOMAIN;

#[test]
fn convolutions() {
    let conv = |x: &[usize], w: &[usize]| Check::new("Conv", 11).x(x).x(w);
    conv(&[2, 3, 5, 4], &[4, 3, 3, 3]).ints("pads", &[1; 4]).x(&[4]).run();
    conv(&[1, 4, 7, 6], &[6, 2, 3, 2]).int("group", 2).ints("strides", &[2, 2]).ints("pads", &[1, 0, 0, 1]).run();
    conv(&[2, 3, 9], &[3, 1, 3]).int("group", 3).ints("dilations", &[2]).ints("pads", &[3, 0]).x(&[3]).run();
    conv(&[1, 2, 4, 3, 3], &[2, 2, 2, 1, 3]).ints("strides", &[2, 1, 1]).run();
    conv(&[2, 4, 3, 3], &[5, 4, 1, 1]).run();
    for mode in ["SAME_UPPER", "SAME_LOWER", "VALID"] {
        conv(&[1, 2, 6, 5], &[2, 2, 3, 3]).text("auto_pad", mode).ints("strides", &[2, 2]).run();
        conv(&[1, 2, 8], &[2, 2, 3]).text("auto_pad", mode).ints("strides", &[3]).run();
    }
    Check::new("Conv", 1).x(&[1, 1, 8, 8]).x(&[1, 1, 2, 2]).ints("strides", &[3, 3]).run();
}

#[test]
fn convolutions_with_activations() {
    let fused = || Check::of("com.microsoft", "FusedConv", 1).x(&[1, 2, 4, 4]).x(&[3, 2, 3, 3]).ints("pads", &[1; 4]);
    fused().text("activation", "Relu").x(&[3]).run();
    fused().text("activation", "Tanh").x(&[3]).x(&[1, 3, 4, 4]).run();
    fused().none().x(&[1, 3, 4, 4]).run();
    let last = || Check::of(HAN_DOMAIN, "ConvLast", 1).x(&[2, 5, 4, 4]).x(&[6, 2, 3, 3]).int("group", 2);
    last().ints("pads", &[1; 4]).ints("strides", &[2, 2]).x(&[6]).run();
    let params = crate::ir::Attr::Floats(vec![0.25]);
    last().none().x(&[2, 3, 2, 6]).text("activation", "leaky_relu").attr("activation_params", params).run();
    last().text("activation", "silu").x(&[6]).run();
}

#[test]
fn transposed_convolutions() {
    let transpose = |x: &[usize], w: &[usize]| Check::new("ConvTranspose", 11).x(x).x(w).ints("strides", &[2, 2]);
    transpose(&[2, 3, 3, 4], &[3, 2, 3, 3]).x(&[2]).run();
    transpose(&[1, 4, 3, 3], &[4, 2, 3, 3]).int("group", 2).ints("pads", &[1; 4]).ints("output_padding", &[1, 1]).run();
    transpose(&[1, 2, 3, 3], &[2, 2, 2, 2]).ints("output_shape", &[7, 6]).run();
    transpose(&[1, 2, 3, 3], &[2, 2, 3, 3]).text("auto_pad", "SAME_UPPER").run();
    Check::new("ConvTranspose", 1).x(&[1, 2, 5]).x(&[2, 3, 3]).ints("dilations", &[2]).run();
}

#[test]
fn pools() {
    for op in ["MaxPool", "AveragePool", "LpPool"] {
        let version = if op == "LpPool" { 18 } else { 19 };
        let pool = |shape: &[usize]| Check::new(op, version).x(shape);
        pool(&[2, 3, 6, 6]).ints("kernel_shape", &[2, 2]).ints("strides", &[2, 2]).run();
        pool(&[1, 2, 5, 6]).ints("kernel_shape", &[3, 2]).ints("pads", &[1, 0, 1, 1]).run();
        pool(&[1, 2, 7]).ints("kernel_shape", &[3]).ints("strides", &[3]).int("ceil_mode", 1).run();
        pool(&[1, 1, 4, 4, 3]).ints("kernel_shape", &[2, 2, 2]).run();
        pool(&[1, 2, 7]).ints("kernel_shape", &[3]).text("auto_pad", "SAME_UPPER").ints("strides", &[2]).run();
        pool(&[1, 2, 8]).ints("kernel_shape", &[3]).ints("dilations", &[2]).run();
    }
    Check::new("LpPool", 11).x(&[1, 2, 7]).ints("kernel_shape", &[3]).int("p", 3).run();
    Check::new("MaxPool", 12).x(&[1, 2, 6]).ints("kernel_shape", &[2]).results(2).run();
    let average = Check::new("AveragePool", 11).x(&[1, 2, 5, 5]).ints("kernel_shape", &[3, 3]).ints("pads", &[1; 4]);
    average.int("count_include_pad", 1).ints("strides", &[2, 2]).run();
    for op in ["MaxPoolLast", "AveragePoolLast"] {
        let pool = || Check::of(HAN_DOMAIN, op, 1).x(&[2, 5, 6, 3]).ints("kernel_shape", &[3, 2]);
        pool().ints("strides", &[2, 2]).ints("pads", &[1, 0, 1, 0]).run();
        pool().run();
    }
}

#[test]
fn pools_over_everything() {
    for op in ["GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool"] {
        Check::new(op, 2).x(&[2, 3, 4, 5]).run();
        Check::new(op, 2).x(&[2, 3, 6]).run();
    }
    Check::new("GlobalLpPool", 2).x(&[2, 3, 4]).int("p", 3).run();
}
