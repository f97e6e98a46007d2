#ifndef DECANT_SERVICES_LAB_LAB_PLOTS_H_
#define DECANT_SERVICES_LAB_LAB_PLOTS_H_

#include <string>
#include <vector>

#include "services/lab/lab_table.h"

namespace decant {

struct NamedPlot {
  std::string name;  // "recall_query-aware"
  std::string svg;
};

// Per task and mode accuracy over resident bytes per token, one panel per length and one line per profile; of all tasks
// together (`overall`: at all lengths, then at each) accuracy, divergence and perplexity; and the divergence of the
// long output by output token, of every profile at its own setting.
std::vector<NamedPlot> DrawLabPlots(const std::string& model, const std::vector<LabRow>& overall,
                                    const std::vector<LabRow>& rows);

}  // namespace decant

#endif  // DECANT_SERVICES_LAB_LAB_PLOTS_H_
