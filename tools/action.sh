# What action.yml runs: judges, writes the run's summary, and comments on the pull request, in the
# comment of the time before if there is one. It ends as rnn-check ends.
#
# CLAIMS (one a line), ARGUMENTS, PULL_REQUEST (empty: no comment), GH_TOKEN
set -uo pipefail

mapfile -t claims < <(printf '%s' "$CLAIMS" | sed '/^[[:space:]]*$/d')
read -ra arguments <<< "$ARGUMENTS"
found=$(mktemp)
rnn-check verify --markdown ${arguments[@]+"${arguments[@]}"} -- ${claims[@]+"${claims[@]}"} > "$found"
code=$?
if [ ! -s "$found" ]; then
    echo "**rnn-check could not judge (exit code $code): see the log of the run.**" > "$found"
fi
cat "$found" >> "$GITHUB_STEP_SUMMARY"

if [ -n "$PULL_REQUEST" ]; then
    mark="<!-- rnn_check -->"
    if [ "$(wc -m < "$found")" -gt 65000 ]; then # GitHub takes 65536
        sed -i '/^<details/,$d' "$found"
        echo "The rest is too long for a comment: see the summary of the run." >> "$found"
    fi
    comments="repos/$GITHUB_REPOSITORY/issues/$PULL_REQUEST/comments"
    before=$(gh api --paginate "$comments" \
        --jq ".[] | select(.body | startswith(\"$mark\")) | .id" | head -n 1)
    if [ -n "$before" ]; then
        where=(--method PATCH "repos/$GITHUB_REPOSITORY/issues/comments/$before")
    else
        where=(--method POST "$comments")
    fi
    printf '%s\n%s\n' "$mark" "$(cat "$found")" | gh api "${where[@]}" --silent --field body=@- ||
        echo "::warning::rnn_check could not comment: does the job have pull-requests: write?"
fi
exit "$code"
