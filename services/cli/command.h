// The subcommands of `decant`: each adds itself to the parser and leaves what it does in `run`.
#ifndef DECANT_SERVICES_CLI_COMMAND_H_
#define DECANT_SERVICES_CLI_COMMAND_H_

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "absl/status/status.h"

namespace decant {

// Called after parsing; an error's message is printed and the process exits with 1.
using CommandRun = std::function<absl::Status()>;

void AddUp(CLI::App& parser, CommandRun& run);
void AddGenerate(CLI::App& parser, CommandRun& run);
void AddExplain(CLI::App& parser, CommandRun& run);
void AddHint(CLI::App& parser, CommandRun& run);
void AddInspect(CLI::App& parser, CommandRun& run);
void AddProfile(CLI::App& parser, CommandRun& run);
void AddCalibrate(CLI::App& parser, CommandRun& run);
void AddLab(CLI::App& parser, CommandRun& run);

// --tenant, of commands that call a router.
void AddTenantFlag(CLI::App& command, std::string& tenant);

}  // namespace decant

#endif  // DECANT_SERVICES_CLI_COMMAND_H_
