/** Paper shows all parts at once, so all are made, with the first rows of the lists, before it is printed. */

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
