//! A cluster that is followed by its API server: the real client against a scripted server.

#[cfg(test)]
mod again;
#[cfg(test)]
mod following;
#[cfg(test)]
mod order;
#[cfg(test)]
mod outages;
#[cfg(test)]
mod property;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod scope;
#[cfg(test)]
mod served;
