//! Every instruction set does lane by lane what plain Rust does.
#![allow(unsafe_code)]

use super::{Isa, Simd, Task};

/// Applies every method to `a` and `b`, lane by lane, and compares.
struct Everything<'a> {
    a: &'a [f32],
    b: &'a [f32],
}

fn same(x: f32, y: f32) -> bool {
    x.to_bits() == y.to_bits() || x == y || (x.is_nan() && y.is_nan())
}

impl Task for Everything<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut y = vec![0.0f32; S::LANES];
        for (a, b) in self.a.chunks_exact(S::LANES).zip(self.b.chunks_exact(S::LANES)) {
            // SAFETY: chunks and `y` have as many elements as a vector.
            let (va, vb) = unsafe { (s.load(a.as_ptr()), s.load(b.as_ptr())) };
            let mut check = |name: &str, v: S::F, f: &dyn Fn(f32, f32) -> f32| {
                // SAFETY: as above.
                unsafe { s.store(y.as_mut_ptr(), v) };
                for (i, y) in y.iter().enumerate() {
                    let wanted = f(a[i], b[i]);
                    assert!(same(*y, wanted), "{name}({}, {}) = {y}, not {wanted}", a[i], b[i]);
                }
            };
            check("add", s.add(va, vb), &|a, b| a + b);
            check("sub", s.sub(va, vb), &|a, b| a - b);
            check("mul", s.mul(va, vb), &|a, b| a * b);
            check("div", s.div(va, vb), &|a, b| a / b);
            check("sqrt", s.sqrt(va), &|a, _| a.sqrt());
            check("abs", s.abs(va), &|a, _| a.abs());
            check("neg", s.neg(va), &|a, _| -a);
            check("copysign", s.copysign(va, vb), &f32::copysign);
            check("max", s.max(va, vb), &|a, b| if a > b { a } else { b });
            check("min", s.min(va, vb), &|a, b| if a < b { a } else { b });
            check("round", s.round(va), &|a, _| a.round_ties_even());
            let nan = s.select(s.is_nan(va), vb, va);
            check("is_nan", nan, &|a, b| if a.is_nan() { b } else { a });
            check("select", s.select(s.lt(va, vb), va, vb), &|a, b| if a < b { a } else { b });
            let less = s.bits(s.lt(va, vb));
            assert!((0..S::LANES).all(|i| (less >> i & 1 == 1) == (a[i] < b[i])) && less >> (S::LANES - 1) <= 1);
            check("neg_where", s.neg_where(s.mask(less), va), &|a, b| if a < b { -a } else { a });
            for n in 0..=S::LANES {
                // SAFETY: `n` elements are read and written.
                let part = unsafe { s.load_part(a.as_ptr(), n) };
                unsafe { s.store(y.as_mut_ptr(), part) };
                assert!((0..S::LANES).all(|i| same(y[i], if i < n { a[i] } else { 0.0 })));
                y.fill(7.0);
                // SAFETY: likewise.
                unsafe { s.store_part(y.as_mut_ptr(), n, va) };
                assert!((0..S::LANES).all(|i| same(y[i], if i < n { a[i] } else { 7.0 })));
            }
        }
        let counted = (0..S::LANES).map(|i| i as f32).collect::<Vec<_>>();
        // SAFETY: as above.
        let v = unsafe { s.load(counted.as_ptr()) };
        assert_eq!(s.sum(v), (S::LANES * (S::LANES - 1) / 2) as f32);
        assert_eq!(s.largest(v), (S::LANES - 1) as f32);
        for i in 0..=1000 {
            let a = 1.0 + i as f32 / 1000.0;
            unsafe { s.store(y.as_mut_ptr(), s.reciprocal(s.splat(a))) };
            assert!((f64::from(y[0]) * f64::from(a) - 1.0).abs() < 1.2e-7, "1/{a} = {}", y[0]);
        }
        for n in -126..=127 {
            unsafe { s.store(y.as_mut_ptr(), s.exp2i(s.splat(n as f32))) };
            assert_eq!(y[0], 2f32.powi(n), "2^{n}");
        }
        for x in [f32::MIN_POSITIVE, 0.3, 0.707, 0.708, 1.0, 1.41, 1.42, 3e38] {
            let (m, e) = s.split(s.splat(x));
            unsafe { s.store(y.as_mut_ptr(), m) };
            assert!((0.707..1.4143).contains(&y[0]), "{x} has the mantissa {}", y[0]);
            unsafe { s.store(y.as_mut_ptr(), s.scale(m, e)) };
            assert_eq!(y[0], x);
        }
        unsafe { s.store(y.as_mut_ptr(), s.scale(s.splat(1.5), s.splat(-149.0))) };
        assert_eq!(y[0], f32::from_bits(2));
        // SAFETY: as above.
        unsafe { s.store(y.as_mut_ptr(), s.mul_add(s.splat(3.0), s.splat(4.0), s.splat(5.0))) };
        assert_eq!(y[0], 17.0);
        unsafe { s.store(y.as_mut_ptr(), s.neg_mul_add(s.splat(3.0), s.splat(4.0), s.splat(5.0))) };
        assert_eq!(y[0], -7.0);
    }
}

#[test]
fn lanes_do_what_numbers_do() {
    let special = [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-40, 3e38];
    let a: Vec<f32> = special.iter().flat_map(|x| vec![*x; special.len()]).chain([0.0; 16]).collect();
    let b: Vec<f32> = special.iter().cycle().take(special.len() * special.len()).copied().chain([0.0; 16]).collect();
    for isa in Isa::all() {
        isa.run(Everything { a: &a, b: &b });
    }
}

#[test]
fn an_instruction_set_is_chosen_by_name() {
    assert!(Isa::all().any(|isa| isa.name() == "scalar"));
    let error = super::IsaError { asked: "mmx".into(), there: vec!["scalar"] };
    assert_eq!(error.to_string(), "HANC_ISA is mmx; this processor has scalar");
}
