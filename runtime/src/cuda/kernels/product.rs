//! Products of matrices, with what follows them: bias, sum and activation.

use super::activation::{Activation, numbers};
use super::elementwise::{Element, job};
use super::strides::{Axes, steps};
use crate::cpu::{Reuse, Spec};
use crate::cuda::driver::{Matrix, Product};
use crate::cuda::job::{At, Body, Call, Job, Site, arg, out};
use crate::kernel::Fault;

pub(super) static BODIES: &[Body] =
    &[Body::new("linear.1", linear, Reuse::Nothing), Body::new("matmul.1", matmul, Reuse::Nothing)];

/// Products of a call at most.
const PRODUCTS: usize = 1024;

/// y = act(y + z), in place, with what is added on its way: `None` where nothing is left to do.
pub(super) fn epilogue(
    site: &Site<'_>,
    added: Option<(Spec<'_>, At, f32)>,
    activation: Option<&Activation>,
) -> Result<Option<Job>, Fault> {
    let y = site.out(0)?;
    let plain = "activated(a, p, q)".to_owned();
    let text = added.map_or(plain, |(.., factor)| match factor {
        1.0 => "activated(a + b, p, q)".to_owned(),
        factor => format!("activated(a + __int_as_float({}) * b, p, q)", factor.to_bits() as i32),
    });
    let operands: Vec<_> = [(y, out(0))].into_iter().chain(added.map(|(spec, at, _)| (spec, at))).collect();
    let element = Element::new(text).activation(activation.map_or("x", Activation::formula));
    job(site, element, &operands, numbers(activation))
}

/// Whether there is an epilogue to a product.
fn finish(
    product: Job,
    site: &Site<'_>,
    added: Option<(Spec<'_>, At, f32)>,
    activation: Option<&Activation>,
) -> Result<Option<Job>, Fault> {
    if added.is_none() && activation.is_none() {
        return Ok(Some(product));
    }
    let Some(last) = epilogue(site, added, activation)? else { return Ok(None) };
    Ok(Some(last.calls.into_iter().fold(product, Job::then)))
}

/// y [m, n] = x [m, k] w [k, n] + bias.
pub(super) fn plain((m, k, n): (usize, usize, usize), x: At, w: Matrix<At>, y: At, bias: Option<At>) -> Call {
    Call::Product(Product { batch: 1, m, n, k, a: x.matrix(k), b: w, y: y.matrix(n), alpha: 1.0, beta: 0.0, bias })
}

fn linear(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (x, w, y, b, z) = (site.arg(0)?, site.arg(1)?, site.out(0)?, site.opt(2), site.opt(3));
    let (&[.., k], &[inner, n]) = (x.shape, w.shape) else { return Ok(None) };
    let rows: usize = x.shape[..x.shape.len() - 1].iter().product();
    let fits =
        k == inner && y.len() == rows * n && b.is_none_or(|b| b.len() == n) && z.is_none_or(|z| z.len() == y.len());
    if !fits || !site.is_real() || k == 0 {
        return Ok(None);
    }
    let product = Job::of(Some(plain((rows, k, n), arg(0), arg(1).matrix(n), out(0), site.at(2))));
    let added = z.map(|z| (Spec { shape: y.shape, ..z }, arg(3), 1.0));
    finish(product.flops(2 * rows * k * n), site, added, Activation::of(site.params)?.as_ref())
}

/// A matrix among the last two axes, a vector being a row or a column.
struct Factor {
    rows: usize,
    columns: usize,
    leading: Vec<usize>,
    transposed: bool,
}

impl Factor {
    fn of(shape: &[usize], transposed: bool, row: bool) -> Option<Factor> {
        let (leading, rows, columns) = match shape {
            [n] if row => (vec![], 1, *n),
            [n] => (vec![], *n, 1),
            [leading @ .., rows, columns] => (leading.to_vec(), *rows, *columns),
            [] => return None,
        };
        let turned = transposed && shape.len() > 1;
        let (rows, columns) = if turned { (columns, rows) } else { (rows, columns) };
        Some(Factor { rows, columns, leading, transposed: turned })
    }

    fn len(&self) -> usize {
        self.rows * self.columns
    }

    fn matrix(&self, at: At, next: usize) -> Matrix<At> {
        let row = if self.transposed { self.rows } else { self.columns };
        Matrix { at, row, next, transposed: self.transposed }
    }
}

fn matmul(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (a, b, c, y) = (site.arg(0)?, site.arg(1)?, site.opt(2), site.out(0)?);
    let factors = Factor::of(a.shape, site.params.flag("trans_a"), true).zip(Factor::of(
        b.shape,
        site.params.flag("trans_b"),
        false,
    ));
    let Some((fa, fb)) = factors.filter(|(a, b)| a.columns == b.rows && a.columns > 0 && site.is_real()) else {
        return Ok(None);
    };
    let Some(products) = products(site, &fa, &fb, y)? else { return Ok(None) };
    let flops = 2 * y.len() * fa.columns;
    let product = products.into_iter().map(Call::Product).fold(Job::default(), Job::then).flops(flops);
    let beta = site.params.float("beta").unwrap_or(1.0) as f32;
    let added = c.filter(|_| beta != 0.0).map(|c| (c, arg(2), beta));
    finish(product, site, added, Activation::of(site.params)?.as_ref())
}

/// One product where matrices lie evenly, or some; `None` where the sizes do not fit.
fn products(site: &Site<'_>, fa: &Factor, fb: &Factor, y: Spec<'_>) -> Result<Option<Vec<Product<At>>>, Fault> {
    let (m, n, k) = (fa.rows, fb.columns, fa.columns);
    let rank = fa.leading.len().max(fb.leading.len());
    let Some(leading) = y.shape.get(..rank) else { return Ok(None) };
    if leading.iter().product::<usize>() * m * n != y.len() {
        return Ok(None);
    }
    let axes = Axes::stretched(leading, [&fa.leading, &fb.leading])?;
    let alpha = site.params.float("alpha").unwrap_or(1.0) as f32;
    let one = |batch: usize, (at_a, at_b, at_y): (usize, usize, usize), [next_a, next_b]: [usize; 2]| Product {
        batch,
        m,
        n,
        k,
        a: fa.matrix(arg(0).plus(4 * at_a * fa.len()), next_a * fa.len()),
        b: fb.matrix(arg(1).plus(4 * at_b * fb.len()), next_b * fb.len()),
        y: Matrix { next: m * n, ..out(0).plus(4 * at_y * m * n).matrix(n) },
        alpha,
        beta: 0.0,
        bias: None,
    };
    if y.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let (&(batch, last), outer) = axes.axes().split_last().ok_or_else(|| Fault::new("axes are missing"))?;
    // Rows of all matrices are those of one, where the right matrix is the same.
    if outer.is_empty() && last == [1, 0] && !fa.transposed {
        return Ok(Some(vec![Product { m: batch * m, ..one(1, (0, 0, 0), [0, 0]) }]));
    }
    let count: usize = outer.iter().map(|axis| axis.0).product();
    if count > PRODUCTS {
        return Ok(None);
    }
    let sizes: Vec<usize> = outer.iter().map(|axis| axis.0).collect();
    let places = steps(&sizes);
    let all = (0..count).map(|i| {
        let at = |n: usize| {
            let each =
                outer.iter().zip(&places).map(|((size, by), place)| (i / *place as usize % size) * by[n] as usize);
            each.sum::<usize>()
        };
        one(batch, (at(0), at(1), i * batch), last.map(|step| step as usize))
    });
    Ok(Some(all.collect()))
}
