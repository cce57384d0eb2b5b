/** Starts the page. The overview is there already; the other parts are made when they are first looked at. */

import { startCharts } from "report/charts";
import { dataCheck } from "report/checks";
import { clipPage } from "report/clip";
import { startPrinting } from "report/print";
import { ranking } from "report/ranking";
import { recommendation } from "report/recommend";
import { startRouter } from "report/router";
import { ablationChart, attentionChart, calibrationChart, qualityChart } from "report/specs";
import { startTheme } from "report/theme";

const views = {
  overview: { build() {}, show() {} }, // stands in the template
  challenges: ranking, recommend: recommendation, checks: dataCheck, clip: clipPage,
};

startTheme();
startRouter(views);
// After the first paint: the charts' code is large.
requestAnimationFrame(() => setTimeout(() => {
  const printCharts = startCharts({ quality: qualityChart, calibration: calibrationChart, attention: attentionChart, ablations: ablationChart });
  startPrinting(views, printCharts);
  document.documentElement.dataset.ready = "true";
}));
