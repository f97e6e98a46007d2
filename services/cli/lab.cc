#include <memory>

#include "services/cli/command.h"
#include "services/lab/app.h"

namespace decant {

void AddLab(CLI::App& parser, CommandRun& run) {
  auto options = std::make_shared<LabOptions>();
  CLI::App* command = parser.add_subcommand(
      "lab",
      "Measures profiles over a grid of budgets on one model: accuracy per task, perplexity and logit KL against true\n"
      "resident bytes. Writes table.csv, table.md, quality.json and plots; the same command again goes on where it\n"
      "stopped. Try: decant lab --model deploy/models/decant-tiny --quick --out /tmp/lab");
  command->add_option("--model", options->model, "Hugging Face model folder")->required()->type_name("DIR");
  command->add_option("--out", options->out, "folder for the results")->required()->type_name("DIR");
  command
      ->add_option("--profiles", options->profiles,
                   "profiles to measure, or files *.json of your own; left out, all of the catalogue")
      ->type_name("A,B");
  command->add_option("--budgets", options->budgets, "shares of full precision to keep, where a profile has a budget")
      ->type_name("0.1,0.2");
  command
      ->add_option("--tasks", options->tasks,
                   "tasks by name, or your own: a file with a line {\"context\": TEXT, \"questions\": [{\"ask\": TEXT, "
                   "\"answer\": TEXT}]} per context; text:FILE for the perplexity of a plain text")
      ->type_name("NAME|FILE.jsonl|text:FILE");
  command->add_option("--mode", options->mode, "compress before the question is known, with it, or both")
      ->type_name("query-aware|query-agnostic|both")
      ->capture_default_str();
  command->add_option("--lengths", options->lengths, "tokens of contexts")->type_name("512,1024");
  command->add_option("--seeds", options->seeds, "draws of the whole grid")->check(CLI::Range(1, 1000));
  command
      ->add_option("--samples", options->samples,
                   "questions per task, mode and seed: one number for all lengths, or one for each")
      ->delimiter(',')
      ->check(CLI::Range(1, 100'000))
      ->type_name("N|N,N");
  command->add_flag("--quick", options->quick, "a small grid in some minutes");
  command->add_option("--dtype", options->dtype, "run type")
      ->check(CLI::IsMember({"auto", "bf16", "f32"}))
      ->capture_default_str();
  command->add_option("--threads", options->threads, "threads that compute; 0 for one per core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->add_option("--commit", options->commit, "what quality.json says it was measured with")
      ->capture_default_str();
  command->callback([options, &run] { run = [options] { return RunLab(*options); }; });
}

}  // namespace decant
