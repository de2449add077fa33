//! The list of the rows.

/// Calls a macro with the rows of one kind, by module, behind the tokens in brackets.
///
/// - `plain` rows know no executor: they run on a thread, and inside a task of every executor.
/// - `thread` rows know no executor, and run on a thread.
/// - `generic` rows run on every executor,
/// - `typed` rows as well, compiled for each,
/// - `wrapped` rows on those that are in a `ContextAwareExecutor`,
/// - `remote` rows on those that other threads can submit work to,
/// - `ending` rows on those that end with their harness.
#[doc(hidden)]
#[macro_export]
macro_rules! __rows {
    (plain, $then:ident, $with:tt) => {
        $then! { $with
            variables {
                cv_01_three_constructors
                cv_02_messages_name_the_variable
                cv_03_identity_not_name_is_the_key
                cv_04_lookup_order
                cv_05_defaults_are_no_bindings
                cv_05_defaults_are_lazy_and_computed_once
                cv_05_a_default_has_no_readers_context
                cv_05_a_default_that_reads_its_own_variable_sees_none
                cv_05_a_default_that_gets_its_own_variable_panics
                cv_06_set_binds_in_the_current_context_only
                cv_07_none_is_a_value
                cv_08_values_are_shared_by_reference
                cv_09_a_bare_thread_reads_without_a_context
                cv_10_debug_shows_name_and_allowed_values_only
                cv_12_unset_can_be_undone
                cv_13_dropping_variable_and_contexts_frees_the_value
            }
            reentrancy {
                r_05_clone_drop_and_debug_may_use_the_crate
                r_05_with_closures_may_use_the_crate
                r_05_a_destructor_that_sets_its_variable_comes_last
                r_05_defaults_may_use_the_crate
                r_05_debug_may_change_what_is_shown
                r_05_a_shared_context_may_be_used_by_what_is_in_it
            }
            reentrancy_panics {
                r_05_a_destructor_that_panics
                r_05_destructors_while_the_thread_unwinds
                r_05_a_waker_that_panics_keeps_no_other_from_waking
                r_05_a_waker_that_panics_leaves_no_context_entered
            }
            tokens {
                tk_01_tokens_are_send_and_made_by_set
                tk_02_old_value
                tk_03_reset_restores_or_removes
                tk_04_a_token_works_once
                tk_05_refused_by_another_variable
                tk_06_refused_in_another_context
                tk_07_variable_is_checked_before_context
                tk_08_a_refused_token_is_given_back
                tk_09_resets_need_not_nest
                tk_10_debug_names_the_variable
                tk_11_guards_restore_also_on_panic
                tk_12_a_guard_restores_once
                tk_13_plain_sets_under_a_guard_go_with_it
                tk_13_guards_in_any_order_leave_nothing
                tk_13_tokens_under_guards
                tk_14_a_guard_changes_its_own_context_only
                tk_15_a_token_holds_the_old_value_and_nothing_else
                r_14_a_forgotten_guard_is_harmless
            }
            contexts {
                cx_01_new_is_empty
                cx_02_keys_are_typed_variables
                cx_03_a_missing_variable_is_none
                cx_04_contexts_ignore_defaults
                cx_05_len_and_iter_list_what_is_set
                cx_06_a_shared_context_is_a_live_view
                cx_07_iterators_are_snapshots
                cx_08_copies_are_independent
                cx_09_identity_of_shared_contexts
                cx_11_the_current_context_is_only_copied
                rn_01_run_returns_the_result
                rn_02_a_panic_restores_and_keeps_the_bindings
                rn_03_changes_are_contained
                rn_04_nesting_replaces_and_does_not_chain
                rn_05_reentry_is_refused
                rn_06_entered_on_another_thread
                rn_08_a_fresh_thread_has_nothing_again_afterwards
                rn_09_run_does_not_follow_into_a_future
                cc_01_copies_do_not_follow_the_original
                cc_02_an_empty_copy
                hm_03_deep_maps
            }
            exits {
                exit_a_wrapped_future_that_returns
                exit_a_wrapped_future_that_returns_early
                exit_a_wrapped_future_that_panics_on_its_first_poll
                exit_a_wrapped_future_that_panics_on_its_second_poll
                exit_a_wrapped_future_that_is_never_polled
                exit_a_wrapped_future_dropped_while_pending
                exit_a_wrapped_future_dropped_on_another_thread
                exit_a_wrapped_future_polled_on_two_threads
                exit_a_wrapped_future_that_is_forgotten
                exit_a_wrapped_future_taken_out_of_its_context
                exit_a_run_in_a_context
                exit_a_run_in_a_shared_context
                exit_a_run_inside_a_run
                exit_a_bound_function
                exit_a_bound_function_that_is_never_called
                exit_a_thread_that_inherits
                exit_a_context_whose_value_panics
                r_05_a_value_that_is_replaced_may_use_the_crate
                exit_a_guard_in_a_function
                exit_a_guard_across_an_await
                exit_a_guard_in_a_future_dropped_while_pending
                exit_a_guard_in_a_future_that_is_never_polled
                exit_a_guard_that_is_forgotten
            }
        }
    };
    (thread, $then:ident, $with:tt) => {
        $then! { $with
            threads {
                th_01_a_std_thread_starts_empty
                th_02_three_ways_to_start_a_thread
            }
            reentrancy_own {
                r_05_an_executor_may_use_the_crate
                r_05_a_local_executor_may_use_the_crate
                r_05_an_executor_may_go_with_its_last_task
                r_05_a_handler_of_slow_callbacks_may_use_the_crate
                r_05_a_cancelled_timer_whose_destructor_panics_is_not_waited_for
                r_05_errors_and_groups_may_be_shown_while_they_are_used
            }
        }
    };
    (generic, $then:ident, $with:tt) => {
        $then! { $with
            tasks {
                ta_01_a_child_copies_the_context_at_the_call
                ta_01_grandchildren_inherit
                ta_02_isolation_both_ways
                ta_02_submitting_leaves_the_context_alone
                ta_03_values_survive_interleaving
                ta_04_awaiting_shares_the_context
                ta_05_the_capture_point_is_spawn
                ta_06_wakers_carry_no_context
                ta_09_spawn_in_an_empty_context
                ta_11_spawned_inside_run
                ta_12_abort_drops_in_the_context
                ta_12_aborted_before_the_first_poll
                ta_12_a_panic_in_a_destructor
                ta_13_a_wrapped_future_is_dropped_in_its_context
                ta_14_channels_carry_no_context
                ta_18_what_shares_and_what_isolates
                ta_19_guards_across_await
                ta_19_scope
                ta_20_streams
                ta_21_the_panic_hook_sees_the_context
                r_09_branches_share_the_context
            }
            sharing {
                ta_18_await
                ta_18_join
                ta_18_try_join
                ta_18_select
                ta_18_futures_unordered
                ta_18_buffered
                ta_18_for_each_concurrent
                ta_18_stream_adapters
                ta_18_sinks
                ta_18_a_stream_polled_elsewhere
                ta_18_timeouts
                ta_18_shared_futures
                ta_18_remote_handle
                ta_18_channels
                ta_18_guards
                ta_18_wakers
            }
            scopes {
                ta_18_branches_in_their_own_contexts
                ta_19_scopes_compose
                ta_19_scopes_in_loops_and_tasks
                ta_19_a_scope_is_made_at_its_first_use
                ta_19_a_scope_that_is_never_polled
                ta_19_scopes_of_streams
                ta_19_scopes_of_sinks_readers_and_writers
            }
            isolating {
                ta_18_spawned_tasks
                ta_18_jobs_and_threads
                ta_18_callbacks
                ta_18_groups
                ta_18_wrapped_branches
                ta_18_branches_in_one_context
                ta_18_scopes
                ta_18_bound_functions
                ta_18_runs
            }
            shared {
                ta_07_tasks_continue_in_one_context
                ta_08_two_tasks_interleave_in_one_context
                ta_08_many_tasks_lose_no_update
                ta_08_a_waiter_that_does_not_come_holds_nobody_up
                ta_10_a_suspended_task_sees_outside_writes
                cs_04_callbacks_share_a_context
                cs_07_a_callback_steps_aside
                cs_07_callbacks_of_two_contexts_wait_apart
                th_06_blocking_jobs_take_turns
                r_03_dropped_while_entered_elsewhere
            }
            callbacks {
                cs_01_captured_at_the_call
                cs_03_each_in_its_own_copy
                cs_05_a_callback_inherits_from_a_callback
                cs_06_a_panic_is_reported_in_the_context
                cs_08_bound_functions
                table_callbacks_first_in_first_out_one_at_a_time
                table_callbacks_not_within_the_call_and_on_a_later_turn
                table_timers_fire_in_order
                table_sleeps_follow_the_clock
                hd_01_the_given_context_is_the_one_it_runs_in
                hd_02_cancel_releases_at_once
                hd_02_cancelled_by_the_callback_itself
                hd_02_cancelled_from_another_thread
                hd_02_handles_outlive_their_executor
                hd_03_a_cancelled_timer_releases_at_once
                hd_03_timers_are_added_and_cancelled_in_any_number
            }
            done {
                fu_01_captured_when_added
                fu_01_a_task_that_has_ended_schedules_at_once
                fu_01_whichever_way_the_task_ends
                fu_01_after_the_destructors_and_in_order
                fu_01_through_the_queue
                fu_02_in_a_given_context
                fu_03_removed_by_its_id
                fu_03_in_the_tasks_own_destructor
                fu_04_a_task_is_woken_in_its_own_context
                fu_05_released_when_the_task_has_ended
            }
            groups {
                tg_01_children_inherit_from_the_spawner
                tg_02_in_a_given_context
                table_group_the_first_failure_aborts_the_rest
                table_group_failures_are_collected
                table_group_leaving_the_scope_waits
                table_group_dropping_it_aborts
                table_group_groups_nest
                table_a_set_of_tasks
            }
            threads {
                th_03_a_blocking_job_runs_in_a_copy
                th_04_bind_for_foreign_pools
                th_05_a_worker_keeps_nothing
                th_05_an_executor_keeps_nothing_of_its_submitters
                th_05_a_started_job_is_not_aborted
            }
            returned {
                th_07_a_task_gives_its_context_back
                th_07_from_whatever_context
                gc_02_a_task_that_has_ended_keeps_nothing
            }
            runs {
                ru_01_block_on_runs_in_a_copy
                ru_02_the_runs_of_a_runner_share_a_context
                ru_03_a_runners_context_is_a_copy_of_its_first_use
                ru_04_a_run_in_another_context
                ru_05_each_run_starts_afresh
                ru_06_one_context_for_a_test_and_its_fixtures
                r_08_nested_block_on
                r_10_a_panic_leaves_the_thread_as_it_was
            }
            reentrancy_work {
                r_05_destructors_of_tasks_may_use_the_crate
                r_05_destructors_of_callbacks_may_use_the_crate
                r_05_destructors_of_jobs_and_groups_may_use_the_crate
                r_05_wakers_may_use_the_crate
            }
            reentrancy_calls {
                r_05_a_waker_that_aborts_its_task
                r_05_an_exception_handler_may_use_the_crate
                r_05_callbacks_may_cancel_each_other_and_themselves
                r_05_handles_may_go_with_what_they_are_of
                r_05_done_callbacks_may_use_their_task
            }
            reentrancy_panics { r_05_a_panicking_destructor_harms_no_other }
            outcomes {
                table_a_dropped_handle_lets_the_task_run
                table_a_panic_is_an_error
                table_abort_waits_for_the_destructors
                table_a_finished_task_is_not_aborted
                table_an_unread_output_is_dropped
                table_an_unread_output_is_dropped_in_an_empty_context
                table_local_variables_stay_behind
                table_ambient_spawn_local
                r_05_a_value_that_goes_with_its_work_may_set_variables
                r_05_a_value_that_goes_with_a_callback_may_set_variables
                r_05_a_panic_of_a_value_that_goes_with_a_callback_is_reported
            }
            exits {
                exit_a_task_that_returns
                exit_a_task_that_returns_early
                exit_a_task_that_panics_on_its_first_poll
                exit_a_task_that_panics_on_its_second_poll
                exit_a_task_that_is_never_polled
                exit_a_task_aborted_while_pending
                exit_a_task_aborted_from_another_thread
                exit_a_task_that_aborts_itself
                exit_a_task_aborted_when_it_has_finished
                exit_a_task_whose_handle_is_dropped
                exit_a_task_whose_handle_is_forgotten
                exit_a_task_whose_destructor_panics
                exit_a_task_whose_value_panics
                exit_a_callback_whose_value_panics
                exit_a_callback_that_returns
                exit_a_callback_that_returns_early
                exit_a_callback_that_panics
                exit_a_timer_that_returns
                exit_a_timer_that_returns_early
                exit_a_timer_that_panics
                exit_a_callback_that_is_cancelled
                exit_a_timer_that_is_cancelled
                exit_a_callback_cancelled_on_another_thread
                exit_a_timer_cancelled_on_another_thread
                exit_a_callback_that_cancels_itself
                exit_a_callback_whose_handle_is_forgotten
                exit_a_job_that_returns
                exit_a_job_that_returns_early
                exit_a_job_that_panics
                exit_a_job_that_is_never_started
                exit_a_job_aborted_under_way
                exit_a_job_whose_handle_is_dropped
                exit_a_job_whose_handle_is_forgotten
                exit_a_guard_in_a_task
                exit_a_wrapped_future_in_a_task
                exit_a_wrapped_stream_in_a_task
            }
            companions {
                co_01_each_poll_of_a_task_has_what_was_current_at_the_call
                co_01_grandchildren_inherit
                co_01_a_new_one_replaces_it_in_the_task
                co_01_what_inherits_them_has_a_context_of_its_own
                co_02_callbacks_and_timers
                co_03_blocking_jobs_and_threads
                co_04_wrapped_bound_and_carried
                co_05_nothing_is_current_where_nothing_was_captured
                co_05_values_only_pin_nothing
                co_06_a_panic_leaves_nothing
                co_07_dropped_with_what_is_current_in_it
                co_08_what_nobody_works_in_keeps_nothing
                co_08_a_runner_between_its_runs
                co_09_work_from_a_thread_has_that_threads
                co_11_what_is_kept_goes_in_the_context_that_keeps_it
                exit_a_companions_value
                exit_a_companions_value_elsewhere
            }
        }
    };
    (typed, $then:ident, $with:tt) => {
        $then! { $with
            tasks {
                ta_01_a_future_of_its_own_type
                ta_12_a_future_of_its_own_type
            }
        }
    };
    (wrapped, $then:ident, $with:tt) => {
        $then! { $with
            tasks { ta_17_spawn_traits_inherit }
            outcomes { table_fixed_executors }
        }
    };
    (remote, $then:ident, $with:tt) => {
        $then! { $with
            callbacks {
                cs_02_captures_the_calling_thread
                cs_02_a_burst_from_eight_threads
                cs_09_spawned_from_another_thread
            }
            threads {
                th_03_a_job_may_spawn_tasks
                th_05_a_worker_has_nothing_in_its_own_context
                th_08_a_thread_that_unwinds_wakes_a_task
            }
        }
    };
    (ending, $then:ident, $with:tt) => {
        $then! { $with
            tasks { ta_12_the_executors_end_drops_in_the_contexts }
            done { fu_05_dropped_with_the_executor }
            exits {
                exit_tasks_with_their_executor
                exit_a_thread_that_keeps_its_executor
                exit_callbacks_with_their_executor
                exit_jobs_with_their_executor
                exit_a_guard_with_its_executor
            }
            reentrancy_work { r_05_destructors_at_the_executors_end_may_use_the_crate }
            companions { co_10_the_executors_end_drops_with_what_is_current }
        }
    };
}
