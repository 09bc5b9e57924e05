startTables();
window.addEventListener("hashchange", route);
route();
