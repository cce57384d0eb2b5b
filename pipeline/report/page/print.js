/** Before printing, builds all parts with the first rows of the lists, as paper shows them all at once. */

import { printLists, unprintLists } from "report/virtual_list";

export function startPrinting(views, printCharts) {
  addEventListener("beforeprint", () => {
    printCharts();
    for (const view of Object.values(views)) {
      view.build();
      view.print?.();
    }
    printLists();
  });
  addEventListener("afterprint", unprintLists);
}
