//! Which instruction set kernels run on.
#![allow(unsafe_code)]

use std::fmt;

#[cfg(target_arch = "aarch64")]
use super::neon::Neon;
use super::{Simd, scalar::Scalar};
#[cfg(target_arch = "x86_64")]
use super::{avx2::Avx2, avx512::Avx512};

/// An instruction set that this processor has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Isa(Kind);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Scalar,
    #[cfg(target_arch = "aarch64")]
    Neon,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// Work that is compiled for every instruction set. `run` and what it calls have to be `#[inline(always)]`.
pub trait Task {
    /// Does it.
    fn run<S: Simd>(self, simd: S);
}

/// An instruction set was asked for that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsaError {
    /// What was asked for.
    pub asked: String,
    /// What there is, the widest last.
    pub there: Vec<&'static str>,
}

impl std::error::Error for IsaError {}

impl std::fmt::Display for IsaError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HANC_ISA is {}; this processor has {}", self.asked, self.there.join(", "))
    }
}

impl Isa {
    /// Every instruction set that this processor has, the widest last.
    pub fn all() -> impl Iterator<Item = Isa> {
        let mut all = vec![Kind::Scalar];
        #[cfg(target_arch = "aarch64")]
        all.push(Kind::Neon);
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            all.push(Kind::Avx2);
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
                all.push(Kind::Avx512);
            }
        }
        all.into_iter().map(Isa)
    }

    /// The one that the environment variable `HANC_ISA` names (`scalar`, `neon`, `avx2`, `avx512`), or else the widest.
    pub fn choose() -> Result<Isa, IsaError> {
        let asked = std::env::var("HANC_ISA").unwrap_or_default();
        let found = match asked.as_str() {
            "" => Isa::all().last(),
            name => Isa::all().find(|isa| isa.name() == name),
        };
        found.ok_or_else(|| IsaError { asked, there: Isa::all().map(Isa::name).collect() })
    }

    /// `scalar`, `neon`, `avx2` or `avx512`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Scalar => "scalar",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => "neon",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
        }
    }

    /// Numbers in a vector.
    pub fn lanes(self) -> usize {
        match self.0 {
            Kind::Scalar => Scalar::LANES,
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => Neon::LANES,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => Avx2::LANES,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => Avx512::LANES,
        }
    }

    /// Runs a task with these instructions.
    #[inline]
    pub fn run<T: Task>(self, task: T) {
        match self.0 {
            Kind::Scalar => task.run(Scalar),
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => task.run(Neon::new()),
            // SAFETY: `all` puts a kind into an `Isa` only where the processor has it.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { avx2(task) },
            // SAFETY: likewise.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => unsafe { avx512(task) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<T: Task>(task: T) {
    // SAFETY: the features of this function are those that the proof asks for.
    task.run(unsafe { Avx2::new() });
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx2,fma")]
fn avx512<T: Task>(task: T) {
    // SAFETY: the features of this function are those that the proof asks for.
    task.run(unsafe { Avx512::new() });
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
