#include "load_tests/traffic/trace.h"

#include <fstream>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"

namespace decant {
namespace {

// The last step has no next one: it is as long as the usual one.
constexpr double kStepSeconds = 3;

absl::Status BadLine(const std::string& file, size_t line, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(file, ":", line, ": ", what));
}

void Spread(std::vector<TraceRow>& rows) {
  for (size_t begin = 0; begin < rows.size();) {
    size_t end = begin;
    while (end < rows.size() && rows[end].seconds == rows[begin].seconds) ++end;
    const double step = end < rows.size() ? rows[end].seconds - rows[begin].seconds : kStepSeconds;
    const auto count = static_cast<double>(end - begin);
    for (size_t i = begin; i < end; ++i) rows[i].seconds += step * static_cast<double>(i - begin) / count;
    begin = end;
  }
}

}  // namespace

absl::StatusOr<std::vector<TraceRow>> ReadMooncake(const std::string& file) {
  std::ifstream in(file);
  if (!in) return absl::NotFoundError(absl::StrCat(file, " cannot be opened"));
  std::vector<TraceRow> rows;
  std::string line;
  for (size_t number = 1; std::getline(in, line); ++number) {
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object() || !json.contains("timestamp") || !json.contains("input_length") ||
        !json.contains("output_length") || !json.contains("hash_ids")) {
      return BadLine(file, number, "not an object with timestamp, input_length, output_length and hash_ids");
    }
    TraceRow row;
    row.seconds = json["timestamp"].get<double>() / 1000;
    row.input_tokens = json["input_length"].get<int64_t>();
    row.output_tokens = json["output_length"].get<int64_t>();
    row.blocks = json["hash_ids"].get<std::vector<int64_t>>();
    rows.push_back(std::move(row));
  }
  Spread(rows);
  return rows;
}

absl::StatusOr<std::vector<TraceRow>> ReadAzure(const std::string& file) {
  std::ifstream in(file);
  if (!in) return absl::NotFoundError(absl::StrCat(file, " cannot be opened"));
  std::vector<TraceRow> rows;
  std::string line;
  std::getline(in, line);  // names of the columns
  absl::Time first;
  for (size_t number = 2; std::getline(in, line); ++number) {
    const std::vector<std::string> parts = absl::StrSplit(absl::StripSuffix(line, "\r"), ',');
    TraceRow row;
    absl::Time time;
    std::string fault;
    if (parts.size() != 3 || !absl::ParseTime("%Y-%m-%d %H:%M:%E*S", parts[0], &time, &fault) ||
        !absl::SimpleAtoi(parts[1], &row.input_tokens) || !absl::SimpleAtoi(parts[2], &row.output_tokens)) {
      return BadLine(file, number, "not TIMESTAMP,ContextTokens,GeneratedTokens");
    }
    if (rows.empty()) first = time;
    row.seconds = absl::ToDoubleSeconds(time - first);
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace decant
