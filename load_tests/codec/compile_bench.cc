// Compiling every shipped profile: what each request pays for the choice of a profile, whose limit is 1 ms.
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/compress/profile.h"
#include "load_tests/support/report.h"

namespace decant {
namespace {

constexpr double kLimitMilliseconds = 1;

int Main(int argc, char** argv) {
  const LoadTestFlags flags = ParseLoadTestFlags(argc, argv);
  Report report(flags);
  const Catalogue catalogue = Catalogue::BuiltIn().value();
  const Geometry geometry{32, 32, 8, 128};
  const int times = flags.quick ? 20 : 500;
  double slowest = 0;
  std::string slowest_name;
  for (const std::string& name : catalogue.Names()) {
    const Profile profile = catalogue.Find(name).value();
    const double start = CpuSeconds();
    for (int i = 0; i < times; ++i) DECANT_CHECK(Compile(profile, geometry, RunType::kBf16).ok());
    const double milliseconds = 1e3 * (CpuSeconds() - start) / times;
    if (milliseconds <= slowest) continue;
    slowest = milliseconds;
    slowest_name = name;
  }
  report.Add(absl::StrCat("codec.compile.slowest_is_", slowest_name), slowest, "ms_of_limit", kLimitMilliseconds);
  const double start = CpuSeconds();
  for (int i = 0; i < times; ++i) DECANT_CHECK(Catalogue::BuiltIn().ok());
  report.Add("codec.compile.whole_catalogue_from_json", 1e3 * (CpuSeconds() - start) / times, "ms");
  return report.Finish();
}

}  // namespace
}  // namespace decant

int main(int argc, char** argv) { return decant::Main(argc, argv); }
