#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "services/cli/command.h"

int main(int argc, char** argv) {
  CLI::App parser(
      "decant serves text generation over compressed KV pages, with prefill, decode and pool apart.\n"
      "Try: decant generate --model deploy/models/decant-tiny \"The code of Alice is 12345. Question: what is the code "
      "of Alice? Answer:\"",
      "decant");
  parser.require_subcommand(1);
  decant::CommandRun run;
  decant::AddUp(parser, run);
  decant::AddGenerate(parser, run);
  decant::AddExplain(parser, run);
  decant::AddHint(parser, run);
  decant::AddInspect(parser, run);
  decant::AddProfile(parser, run);
  decant::AddCalibrate(parser, run);
  decant::AddLab(parser, run);
  CLI11_PARSE(parser, argc, argv);
  const absl::Status status = run();
  if (status.ok()) return 0;
  std::fprintf(stderr, "decant: %s: %s\n", absl::StatusCodeToString(status.code()).c_str(),
               std::string(status.message()).c_str());
  return 1;
}
