(function () {
  "use strict";
  var root = document.documentElement;
  var tags = { en: "en", zh: "zh-CN" };
  var first = root.lang;
  var key = "tunelab-report:" + location.pathname + ":" + first;
  var buttons = document.querySelectorAll("button[data-language]");
  root.classList.add("js");

  function choose(code) {
    root.lang = tags[code];
    buttons.forEach(function (button) {
      button.setAttribute("aria-pressed", String(button.dataset.language === code));
    });
    document.querySelectorAll("[data-label-en]").forEach(function (element) {
      element.setAttribute("aria-label", element.getAttribute("data-label-" + code));
    });
  }

  function stored() {
    try { return localStorage.getItem(key); } catch (error) { return null; }
  }

  var asked = /[#&]lang=(en|zh)\b/.exec(location.hash);
  var code = asked ? asked[1] : stored();
  if (tags[code] && tags[code] !== first) choose(code);

  buttons.forEach(function (button) {
    button.addEventListener("click", function () {
      choose(button.dataset.language);
      try { localStorage.setItem(key, button.dataset.language); } catch (error) { /* private window: not kept */ }
    });
  });

  document.querySelectorAll(".copy").forEach(function (button) {
    button.addEventListener("click", function () {
      var range = document.createRange();
      range.selectNodeContents(button.previousElementSibling);
      var selection = getSelection();
      selection.removeAllRanges();
      selection.addRange(range);
      try { document.execCommand("copy"); } catch (error) { return; }
      button.textContent = button.getAttribute(root.lang === "en" ? "data-copied-en" : "data-copied-zh");
    });
  });

  var opened = [];
  addEventListener("beforeprint", function () {
    document.querySelectorAll("details[data-print]:not([open])").forEach(function (element) {
      element.open = true;
      opened.push(element);
    });
  });
  addEventListener("afterprint", function () {
    opened.splice(0).forEach(function (element) { element.open = false; });
  });
})();
