%% The programs on the BEAM, one per run: erl +S W:W -noshell -run ab main PROGRAM WORKERS NUMBERS.
%% The numbers come from `compare`, so that the sizes are those of the other runtimes. Mailboxes
%% have no bound. CPU is the sum over its threads in /proc; probes come from a process, not from a
%% thread outside, so each waits for two processes.
-module(ab).
-export([main/1]).

main([Program, Workers | Numbers]) ->
    Figures = run(Program, [list_to_integer(Number) || Number <- Numbers]),
    Fields = [["\"", Name, "\":", figure(Value)] || {Name, Value} <- Figures],
    Line = lists:join(",", [["\"runtime\":\"beam\",\"program\":\"", Program, "\""],
                            ["\"workers\":", Workers], "\"mailboxes\":\"unbounded\"" | Fields]),
    io:format("{~s}~n", [Line]),
    halt(0).

figure(Value) -> io_lib:format("~.4f", [float(Value)]).

%% --- meters

cpu_ns() ->
    Threads = filelib:wildcard("/proc/self/task/*/schedstat"),
    lists:sum([begin
                   {ok, Text} = file:read_file(Thread),
                   [OnCpu | _] = binary:split(Text, <<" ">>),
                   binary_to_integer(OnCpu)
               end || Thread <- Threads]).

rss_bytes() ->
    {ok, Status} = file:read_file("/proc/self/status"),
    {match, [Kib]} = re:run(Status, "VmRSS:\\s+(\\d+)", [{capture, all_but_first, list}]),
    list_to_integer(Kib) * 1024.

cost(Operations, Run) ->
    Cpu = cpu_ns(),
    Wall = erlang:monotonic_time(nanosecond),
    Run(),
    WallNs = erlang:monotonic_time(nanosecond) - Wall,
    [{"ops", Operations}, {"cpu_ns_per_op", (cpu_ns() - Cpu) / Operations},
     {"wall_ns_per_op", WallNs / Operations}].

wait(_Message, 0) -> ok;
wait(Message, Count) -> receive Message -> wait(Message, Count - 1) end.

%% --- programs

run("pingpong", [Rounds]) -> pairs(1, Rounds, Rounds);
run("pairs64", [Pairs, Rounds]) -> pairs(Pairs, Rounds, Pairs * Rounds * 2);
run("ring1k_1", Numbers) -> ring(Numbers);
run("ring10k_200", Numbers) -> ring(Numbers);
run("fanin8", [Fan, Each]) ->
    Main = self(),
    cost(Fan * Each, fun() ->
        Sink = spawn(fun() -> sink(Fan * Each, Main) end),
        [spawn(fun() -> source([Sink], Each) end) || _ <- lists:seq(1, Fan)],
        wait(done, 1)
    end);
run("fanout8", [Fan, Each]) ->
    Main = self(),
    cost(Fan * Each, fun() ->
        Sinks = [spawn(fun() -> sink(Each, Main) end) || _ <- lists:seq(1, Fan)],
        spawn(fun() -> source(Sinks, Each) end),
        wait(done, Fan)
    end);
run("skynet", [Leaves]) ->
    Main = self(),
    Total = Leaves * (Leaves - 1) div 2,
    cost((Leaves * 10 - 1) div 9, fun() ->
        spawn(fun() -> node(Main, 0, Leaves) end),
        receive Total -> ok end
    end);
run("spawn", [Count]) ->
    Before = rss_bytes(),
    Births = counters:new(1, [atomics]),
    Main = self(),
    Figures = cost(Count, fun() ->
        spawn(fun() ->
            Children = [spawn(fun() -> idle(Births, Count, Main) end) || _ <- lists:seq(1, Count)],
            receive stop -> Children end
        end),
        wait(born, 1)
    end),
    timer:sleep(100),
    Figures ++ [{"bytes_per_actor", (rss_bytes() - Before) / Count}];
run("jain", [Count, Ms]) ->
    Counts = counters:new(Count, [atomics]),
    [spawn(fun() -> busy(Counts, Actor, 0) end) || Actor <- lists:seq(1, Count)],
    timer:sleep(300),
    Before = units(Counts, Count),
    timer:sleep(Ms),
    Shares = [After - Was || {After, Was} <- lists:zip(units(Counts, Count), Before)],
    Sum = lists:sum(Shares),
    [{"jain", Sum * Sum / (Count * lists:sum([Share * Share || Share <- Shares]))}];
run("loop10k", [Probed, Bursts]) ->
    Counts = counters:new(1, [atomics]),
    Echoes = [spawn(fun() -> echo() end) || _ <- lists:seq(1, Probed)],
    [spawn(fun() -> busy(Counts, 1, 0) end) || _ <- [1, 2]],
    timer:sleep(300),
    waits(lists:append([burst(Echoes) || _ <- lists:seq(1, Bursts)]));
run("fair_" ++ _, [Busy, Probes, MsMax]) ->
    Counts = counters:new(max(Busy, 1), [atomics]),
    [spawn(fun() -> busy(Counts, Actor, 0) end) || Actor <- lists:seq(1, Busy)],
    Echo = spawn(fun() -> echo() end),
    timer:sleep(1000),
    End = erlang:monotonic_time(millisecond) + MsMax,
    waits(probe(Echo, Probes, End)).

pairs(Pairs, Rounds, Operations) ->
    Main = self(),
    cost(Operations, fun() ->
        [begin
             Other = spawn(fun() -> receive {meet, First} -> play(First, Main) end end),
             First = spawn(fun() -> play(Other, Main) end),
             Other ! {meet, First},
             Other ! Rounds * 2 - 1
         end || _ <- lists:seq(1, Pairs)],
        wait(done, Pairs)
    end).

play(Other, Main) ->
    receive
        0 -> Main ! done;
        Left -> Other ! Left - 1
    end,
    play(Other, Main).

ring([Nodes, Tokens, Hops]) ->
    Main = self(),
    Last = spawn(fun() -> receive {meet, First} -> play(First, Main) end end),
    First = lists:foldl(fun(_, Next) -> spawn(fun() -> play(Next, Main) end) end, Last,
                        lists:seq(2, Nodes)),
    Last ! {meet, First},
    First ! Nodes,
    wait(done, 1),
    cost(Hops, fun() ->
        [First ! Hops div Tokens || _ <- lists:seq(1, Tokens)],
        wait(done, Tokens)
    end).

sink(0, Main) -> Main ! done;
sink(Left, Main) -> receive Drip -> sink(Left - Drip, Main) end.

source(_Sinks, 0) -> ok;
source(Sinks, Each) ->
    [Sink ! 1 || Sink <- Sinks],
    source(Sinks, Each - 1).

node(Parent, First, 1) -> Parent ! First;
node(Parent, First, Leaves) ->
    Me = self(),
    Each = Leaves div 10,
    [spawn(fun() -> node(Me, First + Child * Each, Each) end) || Child <- lists:seq(0, 9)],
    Parent ! lists:sum([receive Total -> Total end || _ <- lists:seq(1, 10)]).

idle(Births, Count, Main) ->
    counters:add(Births, 1, 1),
    case counters:get(Births, 1) of
        Count -> Main ! born;
        _ -> ok
    end,
    receive stop -> ok end.

busy(Counts, Actor, 1000) ->
    counters:add(Counts, Actor, 1),
    busy(Counts, Actor, 0);
busy(Counts, Actor, Step) ->
    busy(Counts, Actor, Step + 1).

units(Counts, Count) -> [counters:get(Counts, Actor) || Actor <- lists:seq(1, Count)].

%% --- probes

echo() ->
    receive {From, Sent} -> From ! {pong, erlang:monotonic_time(nanosecond) - Sent} end,
    echo().

burst(Echoes) ->
    [Echo ! {self(), erlang:monotonic_time(nanosecond)} || Echo <- Echoes],
    [receive {pong, Wait} -> Wait end || _ <- Echoes].

probe(_Echo, 0, _End) -> [];
probe(Echo, Probes, End) ->
    timer:sleep(1),
    Sent = erlang:monotonic_time(nanosecond),
    case Sent div 1000000 > End of
        true -> [];
        false ->
            Echo ! {self(), Sent},
            receive {pong, _} -> ok end,
            [erlang:monotonic_time(nanosecond) - Sent | probe(Echo, Probes - 1, End)]
    end.

waits(Waits) ->
    Sorted = lists:sort(Waits),
    Count = length(Sorted),
    At = fun(Percent) -> lists:nth((Count * Percent + 99) div 100, Sorted) / 1000 end,
    [{"probes", Count}, {"answered", Count}, {"p50_us", At(50)}, {"p99_us", At(99)},
     {"max_us", At(100)}].
