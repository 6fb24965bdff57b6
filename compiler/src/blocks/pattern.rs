//! The patterns of `patterns.txt`, as data.

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    /// Its name.
    pub name: String,
    /// Steps from the input to the output.
    pub steps: Vec<Step>,
}

/// A step, and whether it may be absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// What has to stand there.
    pub part: Part,
    /// Whether it may be absent.
    pub optional: bool,
}

/// What has to stand at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A normalisation or affine map.
    Norm,
    /// A linear layer between the sizes that two letters stand for.
    Linear(char, char),
    /// A function of one variable.
    Act,
    /// A constant factor an element.
    Scale,
    /// The addition of the block's input.
    Add,
}

/// The patterns that hanc looks for.
pub(super) fn patterns() -> Vec<Pattern> {
    parse(include_str!("patterns.txt")).unwrap_or_default()
}

/// Reads the lines of a pattern file; an error names the line.
pub(super) fn parse(text: &str) -> Result<Vec<Pattern>, String> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    lines.map(|(i, line)| pattern(line).ok_or_else(|| format!("line {}: {line}", i + 1))).collect()
}

fn pattern(line: &str) -> Option<Pattern> {
    let (name, steps) = line.split_once(':')?;
    let steps = steps.split_whitespace().map(step).collect::<Option<Vec<_>>>()?;
    Some(Pattern { name: name.trim().to_owned(), steps })
}

fn step(word: &str) -> Option<Step> {
    let (word, optional) = word.strip_suffix('?').map_or((word, false), |w| (w, true));
    let part = match word {
        "norm" => Part::Norm,
        "act" => Part::Act,
        "scale" => Part::Scale,
        "add" => Part::Add,
        _ => {
            let letters: Vec<char> = word.strip_prefix("linear[")?.strip_suffix(']')?.chars().collect();
            let [n, '>', m] = letters[..] else { return None };
            Part::Linear(n, m)
        }
    };
    Some(Step { part, optional })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_parses() {
        let all = parse(include_str!("patterns.txt")).unwrap();
        assert_eq!(all.len(), 3);
        assert_eq!(all[0].steps[1], Step { part: Part::Linear('n', 'm'), optional: false });
        assert!(all[0].steps[5].optional);
    }

    #[test]
    fn what_is_no_pattern_is_refused_by_line() {
        assert_eq!(parse("\nx: norm linear[n>m").unwrap_err(), "line 2: x: norm linear[n>m");
        assert!(parse("x: swish").is_err());
    }
}
