#include "load_tests/kernels/kernel_case.h"

#include <algorithm>

namespace decant {
namespace {

using List = std::vector<KernelCase> (*)();

std::vector<List>& Lists() {
  static std::vector<List> lists;
  return lists;
}

}  // namespace

KernelCases::KernelCases(List list) { Lists().push_back(list); }

std::vector<KernelCase> KernelCases::All() {
  std::vector<KernelCase> all;
  for (const List list : Lists()) {
    for (KernelCase& c : list()) all.push_back(std::move(c));
  }
  std::sort(all.begin(), all.end(), [](const KernelCase& a, const KernelCase& b) { return a.name < b.name; });
  return all;
}

}  // namespace decant
