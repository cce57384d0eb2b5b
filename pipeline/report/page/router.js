/** Shows the part that the address names behind its #, so that the back button works and a clip can be linked. */

const TITLE = document.title;
let shown = "overview";

/** "#clip/a%20b" -> ["clip", "a b"]; an address that is none of the page's: null. */
function parsed(hash, views) {
  const [name, ...rest] = hash.replace(/^#/, "").split("/");
  if (!Object.hasOwn(views, name)) return null; // "__proto__" is in every object
  try {
    return [name, decodeURIComponent(rest.join("/"))];
  } catch (error) {
    if (error instanceof URIError) return null; // a % that means nothing
    throw error;
  }
}

/**
 * Shows parts as the address changes.
 *
 * views: by section id, { show(argument), hide?() }; `show` returns a name for the window's title in place of the part's, or
 * nothing.
 */
export function startRouter(views) {
  function go(event) {
    const [name, argument] = parsed(location.hash, views) ?? ["overview", ""];
    if (shown !== name || name === "clip") views[shown].hide?.();
    shown = name;
    for (const section of document.querySelectorAll(".view")) section.classList.toggle("shown", section.id === name);
    document.documentElement.dataset.view = name;
    for (const link of document.querySelectorAll("nav a")) {
      if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    const subtitle = views[name].show(argument);
    const heading = document.getElementById(`${name}-title`);
    document.title = [subtitle ?? (name === "overview" ? null : heading.textContent), TITLE].filter(Boolean).join(" – ");
    if (event) {
      heading.focus({ preventScroll: true });
      scrollTo(0, 0);
    }
  }
  addEventListener("hashchange", go);
  const skip = document.querySelector(".skip");
  skip.addEventListener("click", (event) => {
    event.preventDefault(); // #main is no part
    document.getElementById("main").focus();
  });
  go(null);
}
