//! Functions of several operands, element by element. What was repeated is summed when a gradient is set.

use crate::grad::Grads;
use crate::ir::ValueId;

type Done = Result<(), String>;

/// dy to both.
pub fn add(cx: &mut Grads<'_>) -> Done {
    let dy = cx.dy()?;
    cx.set(0, dy)?;
    cx.set(1, dy)
}

/// dy and −dy.
pub fn sub(cx: &mut Grads<'_>) -> Done {
    let dy = cx.dy()?;
    cx.set(0, dy)?;
    if cx.wants(1) {
        let minus = cx.neg(dy);
        cx.set(1, minus)?;
    }
    Ok(())
}

/// dy · b and dy · a.
pub fn mul(cx: &mut Grads<'_>) -> Done {
    let (a, b, dy) = (cx.x(0)?, cx.x(1)?, cx.dy()?);
    for (i, other) in [(0, b), (1, a)] {
        if cx.wants(i) {
            let d = cx.mul(dy, other);
            cx.set(i, d)?;
        }
    }
    Ok(())
}

/// dy / b and −dy · y / b.
pub fn div(cx: &mut Grads<'_>) -> Done {
    let (b, y, dy) = (cx.x(1)?, cx.y(0)?, cx.dy()?);
    let da = cx.div(dy, b);
    cx.set(0, da)?;
    if cx.wants(1) {
        let product = cx.mul(da, y);
        let db = cx.neg(product);
        cx.set(1, db)?;
    }
    Ok(())
}

/// dy · b · a^(b−1) and dy · y · ln a (0 where a = 0).
pub fn pow(cx: &mut Grads<'_>) -> Done {
    let (a, b, y, dy) = (cx.x(0)?, cx.x(1)?, cx.y(0)?, cx.dy()?);
    if cx.wants(0) {
        let exponent = cx.cast(b, a);
        let less = cx.plus(exponent, -1.0);
        let power = cx.op("Pow", &[a, less]);
        let slope = cx.mul(power, exponent);
        let da = cx.mul(dy, slope);
        cx.set(0, da)?;
    }
    if cx.wants(1) {
        let zero = cx.number(a, 0.0);
        let positive = cx.op("Greater", &[a, zero]);
        let one = cx.number(a, 1.0);
        let safe = cx.choose(positive, a, one);
        let log = cx.op("Log", &[safe]);
        let slope = cx.mul(y, log);
        let db = cx.mul(dy, slope);
        cx.set(1, db)?;
    }
    Ok(())
}

/// dy (times the slope where x < 0), and dy · x where x < 0.
pub fn prelu(cx: &mut Grads<'_>) -> Done {
    let (x, slope, dy) = (cx.x(0)?, cx.x(1)?, cx.dy()?);
    let zero = cx.number(x, 0.0);
    let below = cx.op("Less", &[x, zero]);
    if cx.wants(0) {
        let scaled = cx.mul(dy, slope);
        let dx = cx.choose(below, scaled, dy);
        cx.set(0, dx)?;
    }
    if cx.wants(1) {
        let product = cx.mul(dy, x);
        let d = cx.keep_where(below, product);
        cx.set(1, d)?;
    }
    Ok(())
}

/// dy where the condition is true, to one operand, and dy elsewhere, to the other.
pub fn choose(cx: &mut Grads<'_>) -> Done {
    let (condition, dy) = (cx.x(0)?, cx.dy()?);
    let zero = cx.number(dy, 0.0);
    let first = cx.choose(condition, dy, zero);
    cx.set(1, first)?;
    let second = cx.choose(condition, zero, dy);
    cx.set(2, second)
}

/// dy to each.
pub fn sum(cx: &mut Grads<'_>) -> Done {
    let dy = cx.dy()?;
    (0..cx.of().inputs.len()).try_for_each(|i| cx.set(i, dy))
}

/// dy / n to each of n.
pub fn mean(cx: &mut Grads<'_>) -> Done {
    let (dy, count) = (cx.dy()?, cx.of().inputs.len());
    let part = cx.times(dy, 1.0 / count.max(1) as f64);
    (0..count).try_for_each(|i| cx.set(i, part))
}

/// dy to the first operand that is the result.
pub fn extreme(cx: &mut Grads<'_>) -> Done {
    let (y, mut rest) = (cx.y(0)?, cx.dy()?);
    for i in 0..cx.of().inputs.len() {
        let x = cx.x(i)?;
        let hit = cx.op("Equal", &[x, y]);
        let (mine, others) = part(cx, hit, rest);
        cx.set(i, mine)?;
        rest = others;
    }
    Ok(())
}

/// A gradient where something holds, and where it does not.
fn part(cx: &mut Grads<'_>, hit: ValueId, gradient: ValueId) -> (ValueId, ValueId) {
    let zero = cx.number(gradient, 0.0);
    (cx.choose(hit, gradient, zero), cx.choose(hit, zero, gradient))
}

/// dy to the dividend, and −dy · trunc(a/b) (floor for the remainder with the divisor's sign) to the divisor.
pub fn modulo(cx: &mut Grads<'_>) -> Done {
    let (a, b, y, dy) = (cx.x(0)?, cx.x(1)?, cx.y(0)?, cx.dy()?);
    cx.set(0, dy)?;
    if cx.wants(1) {
        let whole = cx.sub(y, a);
        let quotient = cx.div(whole, b);
        let d = cx.mul(dy, quotient);
        cx.set(1, d)?;
    }
    Ok(())
}
