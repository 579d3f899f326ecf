//! Reports as those see them who read them: a real browser, a validator that is not ours.

#[cfg(test)]
mod browser;
#[cfg(test)]
mod estate;
#[cfg(test)]
mod sarif;
