//! CPU bodies of matrix products.

use super::activation::Activation;
use super::gemm::{Dense, Epilogue, Operands, Outer, Panels, Place, Product, Strides, one_panel, product};
use super::{Cpu, Frame, Job, Reuse, Site, Spec, Target};
use crate::kernel::Fault;

/// `matmul.1`
pub(crate) static MATMUL: Cpu = Cpu { bind: matmul, reuse: Reuse::Nothing };
/// `linear.1`: the result may take the memory of z.
pub(crate) static LINEAR: Cpu = Cpu { bind: linear, reuse: Reuse::Memory(&[3]) };

/// A constant matrix, packed, with its bias.
struct Packed {
    panels: Panels,
    matrix: Vec<f32>,
    bias: Option<Vec<f32>>,
}

impl Packed {
    fn new(site: &Site<'_>, weight: Matrix, w: &[f32], factor: f32, bias: Option<&[f32]>) -> Result<Packed, Fault> {
        let panels = panels(site, weight.rows, weight.columns)?;
        let filled = |bias: &[f32]| {
            let mut filled = bias.to_vec();
            filled.resize(panels.columns(), 0.0);
            filled
        };
        Ok(Packed { panels, matrix: panels.pack(w, weight.strides(), factor), bias: bias.map(filled) })
    }
}

fn panels(site: &Site<'_>, k: usize, n: usize) -> Result<Panels, Fault> {
    Panels::new(site.isa, k, n).ok_or_else(|| Fault(format!("a matrix of {k} by {n} is too large")))
}

/// A matrix as it lies in memory.
#[derive(Clone, Copy)]
struct Matrix {
    rows: usize,
    columns: usize,
    transposed: bool,
}

impl Matrix {
    /// The last two axes of a shape.
    fn of(shape: &[usize], transposed: bool) -> Option<Matrix> {
        let [.., a, b] = *shape else { return None };
        Some(if transposed {
            Matrix { rows: b, columns: a, transposed }
        } else {
            Matrix { rows: a, columns: b, transposed }
        })
    }

    fn strides(self) -> Strides {
        match self.transposed {
            false => Strides { row: self.columns, column: 1 },
            true => Strides { row: 1, column: self.rows },
        }
    }

    fn len(self) -> usize {
        self.rows * self.columns
    }
}

/// y = act(x w + b + z)
fn linear(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, w, y) = (site.arg(0)?, site.arg(1)?, site.out(0)?);
    let ([.., k], &[wk, n]) = (x.shape, w.shape) else { return Ok(None) };
    let fits = *k == wk && x.len() / wk.max(1) * n == y.len() && wk > 0 && n > 0;
    let alike = site.opt(2).is_none_or(|b| b.shape == [n]) && site.opt(3).is_none_or(|z| z.shape == y.shape);
    if !fits || !alike || !site.is_real() {
        return Ok(None);
    }
    let (m, matrix) = (y.len() / n, Matrix { rows: wk, columns: n, transposed: false });
    let constant = site.opt(2).is_none_or(|b| b.weight.is_some());
    if let Some(weight) = w.reals().filter(|_| constant) {
        return layer(site, matrix, &weight, m).map(Some);
    }
    let a = Matrix { rows: m, columns: wk, transposed: false };
    let there = |i: usize| site.opt(i).map(|_| i);
    let settled = Settled {
        isa: site.isa,
        panels: panels(site, wk, n)?,
        alpha: 1.0,
        bias: there(2),
        whole: there(3),
        activation: Activation::of(site.params)?,
        batch: Batch { a, b: matrix, starts: vec![(0, 0)] },
    };
    settled.dynamic().map(Some)
}

/// A layer of constants, on `m` rows.
fn layer(site: &Site<'_>, matrix: Matrix, weight: &[f32], m: usize) -> Result<Job, Fault> {
    let bias = site.opt(2).and_then(|b| b.reals());
    let packed = site.pack(|| Packed::new(site, matrix, weight, 1.0, bias.as_deref()))?;
    let (isa, activation) = (site.isa, Activation::of(site.params)?);
    let (k, n) = (matrix.rows, matrix.columns);
    let job = Job::new(move |frame| {
        let z = frame.has(3).then(|| frame.source(3));
        let epilogue = Epilogue { bias: packed.bias.as_deref(), z, activation };
        let rows = Dense::new(frame.real(0), m, k, k);
        let (panels, packed) = (packed.panels, packed.matrix.as_slice());
        let place = Place::rows(isa, n, n);
        product(&Product { isa, rows, m, panels, packed, epilogue, y: frame.target(0), place }, frame.workers);
        Ok(())
    });
    Ok(job.absorbs(&[1, 2]).flops(2 * m * k * n))
}

/// The sizes of a product of matrices with leading axes.
struct Batch {
    a: Matrix,
    b: Matrix,
    /// Where the matrices of each product begin.
    starts: Vec<(usize, usize)>,
}

impl Batch {
    /// `None` where the operands are no matrices, or do not fit.
    fn new(a: Spec<'_>, b: Spec<'_>, y: Spec<'_>, trans: (bool, bool)) -> Option<Batch> {
        let (ma, mb) = (Matrix::of(a.shape, trans.0)?, Matrix::of(b.shape, trans.1)?);
        let [leading @ .., m, n] = y.shape else { return None };
        if (ma.rows, mb.columns, ma.columns) != (*m, *n, mb.rows) || y.is_empty() || ma.columns == 0 {
            return None;
        }
        let before = |shape: &[usize]| shape[..shape.len() - 2].to_vec();
        let (la, lb) = (before(a.shape), before(b.shape));
        let spreads = |from: &[usize]| crate::kernels::spreads(from, leading);
        if !spreads(&la) || !spreads(&lb) {
            return None;
        }
        let at = |i: usize, from: &[usize], matrix: Matrix| crate::kernels::offset(i, leading, from) * matrix.len();
        let starts = (0..leading.iter().product()).map(|i| (at(i, &la, ma), at(i, &lb, mb))).collect();
        Some(Batch { a: ma, b: mb, starts })
    }

    /// One product in place of many, where the left matrices lie one behind the other and the right one is the same.
    fn join(mut self) -> Batch {
        let rows = self.a.len();
        let joined = self.starts.iter().enumerate().all(|(i, (a, b))| *a == i * rows && *b == 0);
        if joined && !self.a.transposed {
            self.a.rows *= self.starts.len();
            self.starts.truncate(1);
        }
        self
    }
}

/// What is added to the product.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Addend {
    None,
    /// One number a column.
    Bias,
    /// As the result.
    Whole,
}

fn addend(site: &Site<'_>, n: usize, y: &[usize]) -> Option<Addend> {
    let beta = site.params.float("beta").unwrap_or(1.0);
    match site.opt(2) {
        None => Some(Addend::None),
        Some(_) if beta == 0.0 => Some(Addend::None),
        Some(c) if beta == 1.0 && c.shape == y => Some(Addend::Whole),
        Some(c) if beta == 1.0 && c.shape.last() == Some(&n) && c.len() == n => Some(Addend::Bias),
        Some(_) => None,
    }
}

/// y = act(alpha a b + beta c)
fn matmul(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (a, b, y) = (site.arg(0)?, site.arg(1)?, site.out(0)?);
    let trans = (site.params.flag("trans_a"), site.params.flag("trans_b"));
    let batch = Batch::new(a, b, y, trans).filter(|_| site.is_real()).map(Batch::join);
    let Some(batch) = batch else { return Ok(None) };
    let Some(addend) = addend(site, batch.b.columns, y.shape) else { return Ok(None) };
    let activation = Activation::of(site.params)?;
    let alpha = site.params.float("alpha").unwrap_or(1.0) as f32;
    let plain = alpha == 1.0 && addend == Addend::None && activation == Activation::Identity;
    if plain && trans == (true, false) && batch.starts.len() == 1 {
        return outer(site, batch.a, batch.b).map(Some);
    }
    let settled = Settled {
        isa: site.isa,
        panels: panels(site, batch.b.rows, batch.b.columns)?,
        alpha,
        bias: (addend == Addend::Bias).then_some(2),
        whole: (addend == Addend::Whole).then_some(2),
        activation,
        batch,
    };
    match b.reals() {
        Some(weight) if settled.batch.starts.iter().all(|(_, b)| *b == 0) => settled.constant(site, &weight).map(Some),
        _ => settled.dynamic().map(Some),
    }
}

/// y = aᵀ b, read by rows of both.
fn outer(site: &Site<'_>, a: Matrix, b: Matrix) -> Result<Job, Fault> {
    let (count, m, n) = (b.rows, a.rows, b.columns);
    let settled = Outer::new(site.isa, count, m, n).and_then(|outer| Some((outer, outer.scratch()?)));
    let (outer, scratch) = settled.ok_or_else(|| Fault::new("the operands are too large"))?;
    let job = Job::new(move |frame| {
        let rows = Dense::new(frame.real(0), count, m, m);
        let operands = Operands { a: rows, b: frame.real(1), stride: n, y: frame.target(0) };
        outer.run(operands, frame.scratch(), frame.workers);
        Ok(())
    });
    Ok(job.scratch(scratch).flops(2 * count * m * n))
}

/// Numbers of a left matrix that all threads read in turn with little loss.
const SHARED: usize = 1 << 16;
/// Operations that are worth a task of their own.
const WORTH: usize = 1 << 18;

/// A product whose sizes are settled.
struct Settled {
    isa: super::Isa,
    panels: Panels,
    alpha: f32,
    /// The operand that is added to every row, and the one that is as the result.
    bias: Option<usize>,
    whole: Option<usize>,
    activation: Activation,
    batch: Batch,
}

impl Settled {
    /// Numbers of a bias that is filled up to whole vectors, and of a left matrix that is turned.
    fn extra(&self) -> (usize, usize) {
        let bias = if self.bias.is_some() { self.panels.columns() } else { 0 };
        (bias, if self.batch.a.transposed { self.batch.a.len() } else { 0 })
    }

    fn flops(&self) -> usize {
        2 * self.batch.starts.len() * self.batch.a.rows * self.panels.k * self.panels.n
    }

    /// With a constant right matrix.
    fn constant(self, site: &Site<'_>, weight: &[f32]) -> Result<Job, Fault> {
        let packed = site.pack(|| Packed::new(site, self.batch.b, weight, self.alpha, None))?;
        let (bias, turned) = self.extra();
        let flops = self.flops();
        let job = Job::new(move |frame| {
            let scratch = frame.scratch();
            let packed = packed.matrix.as_slice();
            self.each(frame, scratch, |_, p| product(&Product { packed, ..p }, frame.workers));
            Ok(())
        });
        Ok(job.absorbs(&[1]).scratch(bias + turned).flops(flops))
    }

    /// With a right matrix that is packed in each run.
    fn dynamic(self) -> Result<Job, Fault> {
        let (bias, turned) = self.extra();
        let too_large = || Fault::new("the operands are too large");
        let scratch = self.panels.len().checked_add(bias + turned).ok_or_else(too_large)?;
        let flops = self.flops();
        let job = Job::new(move |frame| {
            let scratch = frame.scratch();
            let (packed, rest) = (scratch.part(0, self.panels.len()), scratch.part(self.panels.len(), bias + turned));
            self.each(frame, rest, |start, p| {
                if self.batch.a.len() <= SHARED {
                    return self.by_panels(frame, start, packed, &p);
                }
                self.pack(frame, start, packed);
                // SAFETY: nobody writes the packed matrix before the next product.
                #[allow(unsafe_code)]
                let packed = unsafe { packed.slice(0..packed.len) };
                product(&Product { packed, ..p }, frame.workers);
            });
            Ok(())
        });
        Ok(job.scratch(scratch).flops(flops))
    }

    /// Each panel is packed and multiplied by one thread: one task does both, and the panel stays in its cache.
    fn by_panels(&self, frame: &Frame<'_>, start: usize, packed: Target, p: &Product<'_, Dense>) {
        let matrix = &frame.real(1)[start..start + self.batch.b.len()];
        let (panels, strides) = (self.panels, self.batch.b.strides());
        let task = |i: usize| {
            // SAFETY: panels do not overlap, and each is packed and read by one task.
            #[allow(unsafe_code)]
            let packed = unsafe { packed.slice(panels.range(i)) };
            panels.pack_panel(i, matrix, strides, self.alpha, packed);
            one_panel(p, i, packed);
        };
        match self.flops() / self.batch.starts.len() < WORTH {
            true => (0..panels.count()).for_each(task),
            false => frame.workers.run(panels.count(), &task),
        }
    }

    fn pack(&self, frame: &Frame<'_>, start: usize, packed: Target) {
        let matrix = &frame.real(1)[start..start + self.batch.b.len()];
        let (panels, strides) = (self.panels, self.batch.b.strides());
        let pack = |i: usize| {
            // SAFETY: panels do not overlap, and each is packed by one task.
            #[allow(unsafe_code)]
            panels.pack_panel(i, matrix, strides, self.alpha, unsafe { packed.slice(panels.range(i)) });
        };
        match panels.len() < 1 << 15 {
            true => (0..panels.count()).for_each(pack),
            false => frame.workers.run(panels.count(), &pack),
        }
    }

    /// Calls `f` for every product, with where its right matrix begins; that is yet to be packed.
    fn each(&self, frame: &Frame<'_>, scratch: Target, f: impl Fn(usize, Product<'_, Dense>)) {
        let (bias_len, turned_len) = self.extra();
        let (bias, turned) = (scratch.part(0, bias_len), scratch.part(bias_len, turned_len));
        let bias = self.bias.map(|operand| -> &[f32] { fill(frame.real(operand), bias) });
        let (m, n) = (self.batch.a.rows, self.panels.n);
        for (i, &(start_a, start_b)) in self.batch.starts.iter().enumerate() {
            let y = frame.target(0).part(i * m * n, m * n);
            let z = self.whole.map(|operand| frame.source(operand).skip(i * m * n));
            let a = self.left(&frame.real(0)[start_a..start_a + self.batch.a.len()], turned);
            let rows = Dense::new(a, m, self.panels.k, self.panels.k);
            let epilogue = Epilogue { bias, z, activation: self.activation };
            let (isa, panels) = (self.isa, self.panels);
            let place = Place::rows(isa, n, n);
            f(start_b, Product { isa, rows, m, panels, packed: &[], epilogue, y, place });
        }
    }

    /// The left matrix, its rows one behind the other.
    fn left<'a>(&self, a: &'a [f32], turned: Target) -> &'a [f32] {
        let matrix = self.batch.a;
        if !matrix.transposed {
            return a;
        }
        // SAFETY: the scratch memory is this step's own, and is written again only when this product is done.
        #[allow(unsafe_code)]
        let turned = unsafe { turned.slice(0..turned.len) };
        for (row, to) in turned.chunks_exact_mut(matrix.columns).enumerate() {
            to.iter_mut().zip(a[row..].iter().step_by(matrix.rows)).for_each(|(to, from)| *to = *from);
        }
        turned
    }
}

/// Copies a bias into longer memory, and zeros behind it.
fn fill(bias: &[f32], to: Target) -> &[f32] {
    // SAFETY: the scratch memory is this step's own.
    #[allow(unsafe_code)]
    let to = unsafe { to.slice(0..to.len) };
    let (front, behind) = to.split_at_mut(bias.len());
    front.copy_from_slice(bias);
    behind.fill(0.0);
    to
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{Trial, noise};

    /// Rounding of sums of up to some hundred products of numbers below 2, relative to the largest result.
    const BOUND: f64 = 2e-6;

    #[test]
    fn layers_of_many_sizes() {
        for (m, k, n) in
            [(1, 1, 1), (3, 5, 7), (64, 64, 64), (65, 33, 49), (7, 128, 100), (130, 31, 16), (200, 160, 130)]
        {
            let w = noise(k * n, 2);
            Trial::new("linear.1").noise(&[m, k], 1).weight(&[k, n], &w).result(&[m, n]).within(BOUND);
            let b = noise(n, 3);
            let layer = Trial::new("linear.1").noise(&[1, m, k], 1).weight(&[k, n], &w).weight(&[n], &b);
            layer.noise(&[1, m, n], 4).param("activation", "relu").result(&[1, m, n]).within(BOUND);
        }
    }

    #[test]
    fn layers_that_are_trained() {
        for (m, k, n) in [(1, 1, 1), (65, 33, 49), (100, 30, 30), (300, 160, 130)] {
            let layer = || Trial::new("linear.1").noise(&[m, k], 1).noise(&[k, n], 2);
            layer().result(&[m, n]).within(BOUND);
            layer().noise(&[n], 3).noise(&[m, n], 4).param("activation", "gelu").result(&[m, n]).within(BOUND);
            layer().absent().noise(&[m, n], 4).result(&[m, n]).within(BOUND);
        }
        let constant = Trial::new("linear.1").noise(&[5, 8], 1).weight(&[8, 9], &noise(72, 2));
        constant.noise(&[9], 3).result(&[5, 9]).within(BOUND);
    }

    #[test]
    fn gradients_of_weights() {
        for (count, m, n) in [(1, 1, 1), (100, 2, 30), (100, 30, 30), (700, 37, 53), (5000, 27, 64), (2000, 130, 100)] {
            let product = Trial::new("matmul.1").noise(&[count, m], 1).noise(&[count, n], 2).param("trans_a", true);
            product.result(&[m, n]).within(4e-6);
        }
    }

    #[test]
    fn products_of_activations() {
        for (trans_a, trans_b) in [(false, false), (true, false), (false, true), (true, true)] {
            let flip = |shape: [usize; 2], trans: bool| if trans { [shape[1], shape[0]] } else { shape };
            let (a, b) = (flip([37, 20], trans_a), flip([20, 53], trans_b));
            let both =
                || Trial::new("matmul.1").param("trans_a", trans_a).param("trans_b", trans_b).param("alpha", 0.5);
            both().noise(&a, 1).noise(&b, 2).result(&[37, 53]).within(BOUND);
            let batch = both().noise(&[2, 1, a[0], a[1]], 1).noise(&[3, b[0], b[1]], 2);
            batch.noise(&[53], 3).result(&[2, 3, 37, 53]).within(BOUND);
            let whole = both().noise(&[2, a[0], a[1]], 1).weight(&b, &noise(20 * 53, 2)).noise(&[2, 37, 53], 3);
            whole.param("activation", "relu").result(&[2, 37, 53]).within(BOUND);
        }
    }

    #[test]
    fn what_broadcasts_otherwise_is_left_to_the_definition() {
        let product = || Trial::new("matmul.1").noise(&[4, 5], 1).noise(&[5, 6], 2);
        product().noise(&[4, 1], 3).result(&[4, 6]).left_to_reference();
        Trial::new("matmul.1").noise(&[5], 1).noise(&[5, 6], 2).result(&[6]).left_to_reference();
        product().result(&[4, 7]).refused();
    }
}
