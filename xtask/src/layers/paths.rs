//! What a file names: paths from `use`, code, types, attributes and macros, with `super` and `self` resolved.

use anyhow::{Context, Result};
use proc_macro2::{Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// A path as a file names it, from its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// Its parts; `["unsafe"]` stands for unsafe code.
    pub(super) path: Vec<String>,
    /// Line in the file.
    pub(super) line: usize,
    /// In code that only test builds have.
    pub(super) in_tests: bool,
}

/// Every path that a file names; `file` is its name below `src`.
pub(super) fn named_in(file: &str, text: &str) -> Result<Vec<Named>> {
    let syntax = syn::parse_file(text).context("not Rust")?;
    let mut reader = Reader { module: module_of(file), in_tests: is_test_file(file), named: Vec::new() };
    reader.visit_file(&syntax);
    Ok(reader.named)
}

/// The module path of a file: `policy/kinds/np.rs` is `policy::kinds::np`.
fn module_of(file: &str) -> Vec<String> {
    let stem = file.strip_suffix(".rs").unwrap_or(file);
    let mut parts: Vec<String> = stem.split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        parts.pop();
    }
    parts
}

/// `tests.rs` and `…_tests.rs` beside a room's file, and the builders of tests.
fn is_test_file(file: &str) -> bool {
    file == "testkit.rs"
        || file.starts_with("testkit/")
        || file.ends_with("/tests.rs")
        || file.ends_with("_tests.rs")
        || file.contains("/tests/")
}

struct Reader {
    module: Vec<String>,
    in_tests: bool,
    named: Vec<Named>,
}

impl Reader {
    fn name(&mut self, parts: &[String], span: Span) {
        let path = self.resolve(parts);
        self.named.push(Named { path, line: span.start().line, in_tests: self.in_tests });
    }

    /// Leading `self` and `super` as seen from the module; the crate's own name is `crate`.
    fn resolve(&self, parts: &[String]) -> Vec<String> {
        let ups = parts.iter().take_while(|part| *part == "super" || *part == "self").count();
        let rest = parts[ups..].iter().cloned();
        if ups > 0 {
            let depth = parts[..ups].iter().filter(|part| *part == "super").count();
            let kept = self.module.len().saturating_sub(depth);
            return std::iter::once("crate".to_owned())
                .chain(self.module[..kept].iter().cloned())
                .chain(rest)
                .collect();
        }
        rest.enumerate()
            .map(|(at, part)| if at == 0 && part == "flowlog" { "crate".to_owned() } else { part })
            .collect()
    }

    fn name_unsafe(&mut self, span: Span) {
        self.named.push(Named {
            path: vec!["unsafe".to_owned()],
            line: span.start().line,
            in_tests: self.in_tests,
        });
    }

    fn name_tree(&mut self, tree: &syn::UseTree, before: &[String]) {
        let with = |ident: &syn::Ident| [before, &[ident.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.name_tree(&path.tree, &with(&path.ident)),
            syn::UseTree::Name(name) if name.ident == "self" => self.name(before, name.ident.span()),
            syn::UseTree::Name(name) => self.name(&with(&name.ident), name.ident.span()),
            syn::UseTree::Rename(rename) => self.name(&with(&rename.ident), rename.ident.span()),
            syn::UseTree::Glob(glob) => self.name(before, glob.star_token.spans[0]),
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.name_tree(item, before)),
        }
    }

    /// Macros are not parsed: whatever looks like a path in their tokens is one.
    fn name_tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Group(group) => self.name_tokens(group.stream()),
                TokenTree::Ident(ident) if ident == "unsafe" => self.name_unsafe(ident.span()),
                TokenTree::Ident(ident) => {
                    let parts = path_at(&tokens[at..]);
                    if parts.len() > 1 {
                        self.name(&parts, ident.span());
                        at += 3 * (parts.len() - 1);
                    }
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
            at += 1;
        }
    }
}

/// `a :: b :: c` at the beginning of these tokens.
fn path_at(tokens: &[TokenTree]) -> Vec<String> {
    let colon =
        |token: Option<&TokenTree>| matches!(token, Some(TokenTree::Punct(sign)) if sign.as_char() == ':');
    let mut parts = Vec::new();
    let mut at = 0;
    while let Some(TokenTree::Ident(ident)) = tokens.get(at) {
        parts.push(ident.to_string());
        if !colon(tokens.get(at + 1)) || !colon(tokens.get(at + 2)) {
            break;
        }
        at += 3;
    }
    parts
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let outer = self.in_tests;
        self.in_tests |= is_for_tests(&item.attrs);
        self.name_tree(&item.tree, &[]);
        self.in_tests = outer;
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let (Some(first), true) = (path.segments.first(), parts.len() > 1) {
            self.name(&parts, first.ident.span());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.name_tokens(item.tokens.clone());
        visit::visit_macro(self, item);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            self.name_tokens(list.tokens.clone());
        }
        visit::visit_attribute(self, attribute);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let outer = self.in_tests;
        self.in_tests |= is_for_tests(&item.attrs);
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
        self.in_tests = outer;
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        let outer = self.in_tests;
        self.in_tests |= is_for_tests(&item.attrs);
        visit::visit_item_fn(self, item);
        self.in_tests = outer;
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.name_unsafe(block.unsafe_token.span);
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_safety(&mut self, safety: &'ast syn::Safety) {
        if let syn::Safety::Unsafe(token) = safety {
            self.name_unsafe(token.span);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if let Some(token) = &item.unsafety {
            self.name_unsafe(token.span);
        }
        visit::visit_item_impl(self, item);
    }
}

/// `#[cfg(test)]`, also within `all(…)`, and `#[test]`.
fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::Path(path) => path.is_ident("test"),
        syn::Meta::List(list) if list.path.is_ident("cfg") => {
            let text = list.tokens.to_string();
            text == "test" || (text.starts_with("all") && text.contains("test") && !text.contains("not"))
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_a_module() {
        for (file, module) in
            [("lib.rs", ""), ("policy/mod.rs", "policy"), ("policy/kinds/np.rs", "policy::kinds::np")]
        {
            assert_eq!(module_of(file).join("::"), module);
        }
    }

    #[test]
    fn super_is_resolved_from_an_inner_module() {
        let named =
            named_in("policy/peer.rs", "mod tests { use super::{x::Y, super::selector}; use self::z; }")
                .unwrap();
        let paths: Vec<_> = named.iter().map(|named| named.path.join("::")).collect();
        assert_eq!(
            paths,
            ["crate::policy::peer::x::Y", "crate::policy::selector", "crate::policy::peer::tests::z"]
        );
    }
}
