"use strict";
// Names, paths and results are untrusted: they reach the page as text nodes and attribute values, never as markup.

const data = JSON.parse(document.getElementById("data").textContent);

/** An element with attributes (null: none) and children, which are elements or text. */
function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for a part of a drawing. */
function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Tells a screen reader what has just happened. */
function say(text) {
  document.getElementById("said").textContent = text;
}

function runLink(run) {
  return "#run-" + encodeURIComponent(run.id);
}
