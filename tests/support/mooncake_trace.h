// The public Mooncake traces (FAST'25): which blocks of 512 tokens each request's prompt is made of.
//
// They are no part of the project: DECANT_TRACES names their folder; without it a folder `traces`, or `shared/traces`,
// in or above the checkout is taken.
#ifndef DECANT_TESTS_SUPPORT_MOONCAKE_TRACE_H_
#define DECANT_TESTS_SUPPORT_MOONCAKE_TRACE_H_

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "common/base/digest.h"

namespace decant {

inline constexpr int32_t kTraceBlockTokens = 512;

struct TraceRequest {
  std::vector<uint32_t> blocks;  // equal numbers are equal prefixes; every number has one predecessor
};

struct MooncakeTrace {
  std::string name;
  std::vector<TraceRequest> requests;
  int64_t references = 0;  // blocks of all requests
  uint32_t blocks = 0;     // different ones; numbers are below it
};

// The folder of the traces; empty when there is none.
inline std::string TraceFolder(const std::string& checkout) {
  namespace fs = std::filesystem;
  if (const char* named = std::getenv("DECANT_TRACES"); named != nullptr) return named;
  std::error_code ignored;
  for (fs::path above = fs::weakly_canonical(checkout, ignored); !above.empty(); above = above.parent_path()) {
    for (const char* place : {"traces", "shared/traces"}) {
      if (fs::exists(above / place / "mooncake_conversation_trace.jsonl", ignored)) return (above / place).string();
    }
    if (above == above.parent_path()) break;
  }
  return "";
}

// `name` is conversation or synthetic. NOT_FOUND without the file, DATA_LOSS when it is not the published one.
inline absl::StatusOr<MooncakeTrace> LoadMooncakeTrace(const std::string& folder, const std::string& name) {
  const std::string file = absl::StrCat(folder, "/mooncake_", name, "_trace.jsonl");
  std::ifstream stream(file, std::ios::binary);
  if (folder.empty() || !stream) {
    return absl::NotFoundError(absl::StrCat("skipped: no trace ", folder.empty() ? name : file,
                                            "; DECANT_TRACES names the folder of the Mooncake traces"));
  }
  const std::string text((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
  const absl::string_view published = name == "conversation"
                                          ? "b8cbb061a85206d729d91cdc2981f43c9e0d99209dce588d3af5f7934408b9df"
                                          : "bd070915a98fc0ed264d7cfef2ce746002eb3076a695ec31ba2674c0111ec131";
  if (Sha256(text).Hex() != published) return absl::DataLossError(absl::StrCat(file, " is not the published trace"));
  MooncakeTrace trace;
  trace.name = name;
  for (const absl::string_view line : absl::StrSplit(absl::string_view(text), '\n', absl::SkipEmpty())) {
    const size_t open = line.rfind('[');
    const size_t close = line.rfind(']');
    TraceRequest request;
    for (const absl::string_view number : absl::StrSplit(line.substr(open + 1, close - open - 1), ", ")) {
      uint32_t block = 0;
      if (!absl::SimpleAtoi(number, &block)) return absl::DataLossError(absl::StrCat(file, ": no number: ", number));
      request.blocks.push_back(block);
      trace.blocks = std::max(trace.blocks, block + 1);
    }
    trace.references += static_cast<int64_t>(request.blocks.size());
    trace.requests.push_back(std::move(request));
  }
  return trace;
}

}  // namespace decant

#endif  // DECANT_TESTS_SUPPORT_MOONCAKE_TRACE_H_
