//! Training recipes: the defaults, and the settings of the paper's experiments.

/// A recipe as TOML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecipeText {
    /// What the command line calls it.
    pub name: &'static str,
    /// The file.
    pub text: &'static str,
}

impl RecipeText {
    /// What it is for: the comment that the file begins with.
    pub fn doc(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches('#').trim()
    }
}

macro_rules! recipes {
    ($($name:literal),*) => {
        &[$(RecipeText { name: $name, text: include_str!(concat!("../recipes/", $name, ".toml")) }),*]
    };
}

/// All recipes; the first is the default.
static RECIPES: &[RecipeText] =
    recipes!["finetune", "distil", "recover", "checkerboard", "sine", "regression", "mnist", "mixer", "mobilevit"];

/// All recipes; the first, `finetune`, is the default.
pub fn recipes() -> &'static [RecipeText] {
    RECIPES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_says_what_it_is_for() {
        assert!(recipes().iter().all(|recipe| recipe.text.starts_with("# ") && recipe.doc().len() > 20));
    }

    #[test]
    fn every_file_is_listed() {
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/recipes")).expect("the folder");
        assert_eq!(files.count(), recipes().len());
    }
}
